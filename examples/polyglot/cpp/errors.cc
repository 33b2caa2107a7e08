// Does what is wrong in six ways, and prints what a C++ program sees of it.

#include <chrono>
#include <functional>
#include <future>

#include "client.h"
#include "connection.h"
#include "holdfast/v1/dict.grpc.pb.h"
#include "holdfast/v1/manager.grpc.pb.h"
#include "holdfast/v1/queue.grpc.pb.h"
#include "holdfast/v1/value.grpc.pb.h"

using namespace holdfast::v1;

namespace {

const char kDictName[] = "polyglot/errors/cpp/dict";
const char kQueueName[] = "polyglot/errors/cpp/queue";

void show(const std::string& name, const std::function<void()>& wrong) {
  try {
    wrong();
    Line().text("case", name).text("code", "OK").null("reason").text("shown", "nothing was wrong").print();
  } catch (const CallError& error) {
    Line line;
    line.text("case", name).text("code", name_of(error.code)).text("shown", error.what());
    (error.reason.empty() ? line.null("reason") : line.text("reason", error.reason)).print();
  }
}

// A call to Get of an empty queue, which waits, and is withdrawn when the context gives it up.
void wait_for_an_item(QueueService::Stub& queues, grpc::ClientContext& context) {
  QueueGetResponse response;
  const grpc::Status status = queues.Get(&context, QueueGetRequest(), &response);
  if (!status.ok()) throw CallError(status);
}

void show_deadline(Connection& connection, const On& queue) {
  grpc::ClientContext context;
  connection.prepare(context, queue);
  // A point in time, and not a span: to be set when the call is made. It goes to the manager with the call.
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
  const auto queues = QueueService::NewStub(connection.channel);
  show("deadline", [&] { wait_for_an_item(*queues, context); });
}

void show_cancel(Connection& connection, const On& queue) {
  grpc::ClientContext context;
  connection.prepare(context, queue);
  const auto queues = QueueService::NewStub(connection.channel);
  auto waiting = std::async(std::launch::async, [&] { wait_for_an_item(*queues, context); });
  // Until the call has come to the queue.
  while (connection.call(*queues, &QueueService::Stub::Size, QueueSizeRequest(), queue).getters() == 0) {
  }
  context.TryCancel();  // any thread may
  show("cancel", [&] { waiting.get(); });
}

}  // namespace

bool show_errors() {
  // A connection of its own: a failed handshake ends it.
  show("wrong-authkey", [] { Connection(address()).authenticate(std::string(43, 'A')); });

  Connection connection = login();
  const auto manager = ManagerService::NewStub(connection.channel);
  const auto dicts = DictService::NewStub(connection.channel);
  const auto values = ValueService::NewStub(connection.channel);
  connection.open(kDictName, kDict);
  const On queue = connection.open(kQueueName, kQueue);

  std::string token;
  token.swap(connection.token);
  show("no-token", [&] { connection.call(*manager, &ManagerService::Stub::Status, StatusRequest()); });
  token.swap(connection.token);

  show("missing-object", [&] {
    connection.call(*dicts, &DictService::Stub::Len, DictLenRequest(), named("polyglot/nobody has made this"));
  });
  show("wrong-kind",
       [&] { connection.call(*values, &ValueService::Stub::Get, ValueGetRequest(), named(kDictName)); });
  show_deadline(connection, queue);
  show_cancel(connection, queue);

  for (const char* name : {kDictName, kQueueName}) {
    DeleteRequest request;
    request.set_name(name);
    connection.call(*manager, &ManagerService::Stub::Delete, request);
  }
  return true;
}
