// A client of Holdfast in C++, with nothing but the .proto files: stubs from protoc and grpc_cpp_plugin.

#include <google/protobuf/util/json_util.h>

#include <iostream>
#include <sstream>
#include <stdexcept>

#include "client.h"

namespace {

const char kUsage[] =
    "client work    [--language cpp] [--parties N] [--adds N] [--locks N] [--items N] [--expect counter=N,entry=N]\n"
    "client errors          each kind of bad input, and what comes of it\n"
    "client vectors FILE    checks the handshake against docs/handshake-vectors.json\n"
    "HOLDFAST_ADDRESS and HOLDFAST_AUTHKEY_FILE say where the manager is, and with which key.";

// counter=60000,entry=1200. A number with a + after it is a least one.
std::map<std::string, Total> totals(const std::string& text) {
  std::map<std::string, Total> totals;
  std::stringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    const size_t equals = part.find('=');
    const std::string name = part.substr(0, equals);
    if (equals == std::string::npos || (name != "counter" && name != "entry"))
      throw std::invalid_argument(part + " is no total: write counter=60000,entry=1200");
    totals[name] = Total{std::stoll(part.substr(equals + 1)), part.back() == '+'};
  }
  return totals;
}

Plan plan(const std::vector<std::string>& arguments) {
  Plan plan;
  const std::map<std::string, int64_t*> numbers = {
      {"--parties", &plan.parties}, {"--adds", &plan.adds}, {"--locks", &plan.locks}, {"--items", &plan.items}};
  for (size_t i = 0; i < arguments.size(); i += 2) {
    const std::string& name = arguments[i];
    if (i + 1 == arguments.size()) throw std::invalid_argument(name + " wants a value");
    const std::string& value = arguments[i + 1];
    if (const auto number = numbers.find(name); number != numbers.end()) {
      *number->second = std::stoll(value);
    } else if (name == "--language") {
      plan.language = value;
    } else if (name == "--expect") {
      plan.expected = totals(value);
    } else {
      throw std::invalid_argument("there is no " + name + "\n" + kUsage);
    }
  }
  return plan;
}

bool run(const std::vector<std::string>& arguments) {
  const std::string mode = arguments.empty() ? "" : arguments[0];
  const std::vector<std::string> rest(arguments.begin() + !arguments.empty(), arguments.end());
  if (mode == "work") return work(plan(rest));
  if (mode == "errors" && rest.empty()) return show_errors();
  if (mode == "vectors" && rest.size() == 1) return check_vectors(rest[0]);
  throw std::invalid_argument(kUsage);
}

}  // namespace

int main(int count, char** arguments) {
  try {
    return run({arguments + 1, arguments + count}) ? 0 : 1;
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << std::endl;
    return 1;
  }
}

Line& Line::number(const std::string& name, double value) {
  (*line_.mutable_fields())[name].set_number_value(value);
  return *this;
}

Line& Line::text(const std::string& name, const std::string& value) {
  (*line_.mutable_fields())[name].set_string_value(value);
  return *this;
}

Line& Line::null(const std::string& name) {
  (*line_.mutable_fields())[name].set_null_value(google::protobuf::NULL_VALUE);
  return *this;
}

Line& Line::flag(const std::string& name, bool value) {
  (*line_.mutable_fields())[name].set_bool_value(value);
  return *this;
}

Line& Line::numbers(const std::string& name, const std::map<std::string, int64_t>& value) {
  auto& fields = *(*line_.mutable_fields())[name].mutable_struct_value()->mutable_fields();
  for (const auto& [key, number] : value) fields[key].set_number_value(number);
  return *this;
}

void Line::print() const {
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(line_, &json).ok()) throw std::runtime_error("no JSON can say this");
  std::cout << json << std::endl;  // at once: somebody waits for it
}
