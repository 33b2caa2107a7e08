#include "connection.h"

#include <openssl/crypto.h>
#include <sys/stat.h>

#include <chrono>
#include <climits>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "google/rpc/status.pb.h"
#include "handshake.h"
#include "holdfast/v1/auth.grpc.pb.h"
#include "holdfast/v1/manager.grpc.pb.h"
#include "holdfast/v1/refusal.pb.h"

using namespace holdfast::v1;

namespace {

// The reason of a refusal, out of the details that come beside the status. This library leaves them as the bytes they are:
// a google.rpc.Status, with the holdfast.v1.Refusal among its details.
std::string reason_of(const grpc::Status& status) {
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) return "";
  for (const auto& detail : details.details()) {
    Refusal refusal;
    if (detail.UnpackTo(&refusal)) return Reason_Name(refusal.reason());
  }
  return "";
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) throw std::runtime_error(std::string(name) + " is not set: it says where the manager is");
  return value;
}

}  // namespace

CallError::CallError(const grpc::Status& status)
    : std::runtime_error(std::string(name_of(status.error_code())) + ": " + status.error_message()),
      code(status.error_code()),
      reason(reason_of(status)) {}

const char* name_of(grpc::StatusCode code) {
  static const char* const names[] = {
      "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
      "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
      "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"};
  return code >= 0 && code <= 16 ? names[code] : "UNKNOWN";
}

Connection::Connection(const std::string& address) {
  std::string target = address;
  if (target.rfind("http://", 0) == 0) {
    target.erase(0, 7);
  } else if (target.rfind("unix:", 0) != 0) {
    throw std::runtime_error(address + " is not an address that this client takes: write unix:PATH or http://HOST:PORT");
  }
  grpc::ChannelArguments arguments;
  // The token is that of a connection. Without this, channels to the same address share one, which may be another's.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // Otherwise the connection ends after 30 minutes without a call, and the session with it.
  arguments.SetInt(GRPC_ARG_CLIENT_IDLE_TIMEOUT_MS, INT_MAX);
  // Over a Unix socket the library would send the path as authority, which HTTP/2 refuses as none.
  arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "localhost");
  // A proxy that the environment names, for the web, does not lead to a manager.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // The library's own 4 MiB are less than what a value may have.
  arguments.SetMaxReceiveMessageSize(64 << 20);
  channel = grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
}

void Connection::prepare(grpc::ClientContext& context, const On& on) {
  calls++;
  // A bound for each call: it is withdrawn when that passes. This library has none by itself.
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(15));
  // Metadata whose name ends in -bin is encoded by the library: these are the bytes as they are.
  if (!token.empty()) context.AddMetadata("holdfast-token-bin", token);
  if (!on.key.empty()) context.AddMetadata(on.key, on.value);
}

void Connection::authenticate(const std::string& authkey) {
  const auto auth = AuthService::NewStub(channel);
  BeginRequest begin;
  begin.set_client_first(client_first());
  const auto begun = call(*auth, &AuthService::Stub::Begin, begin);
  const Proof proof = prove(authkey, begin.client_first(), begun.server_first(), "");
  FinishRequest finish;
  finish.set_client_final(proof.client_final);
  const auto finished = call(*auth, &AuthService::Stub::Finish, finish);
  const std::string& shown = finished.server_final();
  if (shown.size() != proof.server_final.size() || CRYPTO_memcmp(shown.data(), proof.server_final.data(), shown.size()))
    throw std::runtime_error("who answers does not hold the authkey: nothing was sent that it could use");
  token = finished.token();
}

On Connection::open(const std::string& name, uint32_t kind, const std::string& spec) {
  OpenRequest request;
  request.set_name(name);
  request.set_kind(kind);
  request.set_spec(spec);
  return handle(call(*ManagerService::NewStub(channel), &ManagerService::Stub::Open, request).handle());
}

std::string address() { return environment("HOLDFAST_ADDRESS"); }

std::string authkey() {
  const std::string path = environment("HOLDFAST_AUTHKEY_FILE");
  struct stat about;
  if (stat(path.c_str(), &about) != 0) throw std::runtime_error("there is no authkey file " + path);
  if (about.st_mode & 077) throw std::runtime_error("others can read " + path + ": chmod 600 it");
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  const std::string key = text.str(), space = " \t\r\n\v\f";
  const size_t begin = key.find_first_not_of(space);
  return begin == std::string::npos ? "" : key.substr(begin, key.find_last_not_of(space) + 1 - begin);
}

Connection login() {
  Connection connection(address());
  connection.authenticate(authkey());
  return connection;
}

Datum integer(int64_t number) {
  Datum datum;
  datum.set_integer(number);
  return datum;
}

Datum text(const std::string& words) {
  Datum datum;
  datum.set_text(words);
  return datum;
}
