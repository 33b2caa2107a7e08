#pragma once

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "holdfast/v1/datum.pb.h"

// A call that failed. What a program decides by is the reason: "REASON_EMPTY", or nothing where the library made the error by
// itself, as that a deadline has passed.
class CallError : public std::runtime_error {
 public:
  explicit CallError(const grpc::Status& status);
  grpc::StatusCode code;
  std::string reason;
};

// The name of a code as gRPC's documents write it, which the C++ library has no function for.
const char* name_of(grpc::StatusCode code);

// The object that a call is on, as the metadata that says so; none for a call to the manager itself.
struct On {
  std::string key, value;
};

inline On handle(uint32_t number) { return {"holdfast-handle", std::to_string(number)}; }
inline On named(const std::string& name) { return {"holdfast-object-bin", name}; }

// One connection to a manager, which is one session: handles and the token are good on it and nowhere else.
class Connection {
 public:
  // Dials nothing yet: gRPC does that with the first call.
  explicit Connection(const std::string& address);

  // Proves to the manager that we hold the authkey, and makes it prove the same.
  void authenticate(const std::string& authkey);

  // What each context of a call needs. A context is good for one call only.
  void prepare(grpc::ClientContext& context, const On& on);

  // Makes a call, and throws if it fails: a grpc::Status that nobody looks at is an error that nobody sees.
  template <class Stub, class Request, class Response>
  Response call(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                const Request& request, const On& on = {}) {
    grpc::ClientContext context;
    prepare(context, on);
    Response response;
    const grpc::Status status = (stub.*method)(&context, request, &response);
    if (!status.ok()) throw CallError(status);
    return response;
  }

  // Opens the object of a name, and makes it unless it is there.
  On open(const std::string& name, uint32_t kind, const std::string& spec = "");

  std::shared_ptr<grpc::Channel> channel;
  std::string token;
  uint64_t calls = 0;
};

// The address and the authkey that the environment names. An authkey file that others can read is refused.
std::string address();
std::string authkey();

// A connection to the manager that the environment names, with both sides proven.
Connection login();

// The numbers of the kinds, as the option (holdfast.v1.kind) of each service says them.
enum Kind : uint32_t { kDict = 2, kValue = 3, kLock = 8, kBarrier = 12, kQueue = 14 };

holdfast::v1::Datum integer(int64_t number);
holdfast::v1::Datum text(const std::string& words);
