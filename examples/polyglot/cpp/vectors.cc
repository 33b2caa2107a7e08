#include <google/protobuf/util/json_util.h>

#include <fstream>
#include <iostream>
#include <sstream>

#include "client.h"
#include "handshake.h"

namespace {

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) bytes.push_back(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

bool is_refused(const std::string& client_first, const std::string& server_first) {
  try {
    prove("pencil", client_first, server_first, "");
    return false;
  } catch (const std::runtime_error&) {
    return true;
  }
}

}  // namespace

bool check_vectors(const std::string& path) {
  std::stringstream content;
  content << std::ifstream(path).rdbuf();
  google::protobuf::Struct file;
  if (!google::protobuf::util::JsonStringToMessage(content.str(), &file).ok())
    throw std::runtime_error("there are no vectors in " + path);
  const auto& vectors = file.fields().at("vectors").list_value().values();
  const auto& refused = file.fields().at("refused").list_value().values();
  bool ok = !vectors.empty() && !refused.empty();
  for (const auto& vector : vectors) {
    const auto field = [&](const char* name) { return vector.struct_value().fields().at(name).string_value(); };
    const Proof proof = prove(field("authkey"), field("client_first"), field("server_first"), from_hex(field("binding_hex")));
    if (proof.client_final != field("client_final") || proof.server_final != field("server_final")) {
      std::cerr << field("name") << ": made " << proof.client_final << " and " << proof.server_final << std::endl;
      ok = false;
    }
  }
  for (const auto& vector : refused) {
    const auto field = [&](const char* name) { return vector.struct_value().fields().at(name).string_value(); };
    if (!is_refused(field("client_first"), field("server_first"))) {
      std::cerr << field("name") << ": was not refused" << std::endl;
      ok = false;
    }
  }
  if (ok) std::cout << vectors.size() << " vectors hold, " << refused.size() << " challenges are refused" << std::endl;
  return ok;
}
