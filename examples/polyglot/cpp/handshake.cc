#include "handshake.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <regex>
#include <stdexcept>

namespace {

std::string mac(const std::string& key, const std::string& text) {
  std::string out(32, '\0');
  HMAC(EVP_sha256(), key.data(), key.size(), reinterpret_cast<const unsigned char*>(text.data()), text.size(),
       reinterpret_cast<unsigned char*>(out.data()), nullptr);
  return out;
}

std::string sha256(const std::string& text) {
  std::string out(32, '\0');
  EVP_Digest(text.data(), text.size(), reinterpret_cast<unsigned char*>(out.data()), nullptr, EVP_sha256(), nullptr);
  return out;
}

std::string to_base64(const std::string& bytes) {
  std::string out(4 * ((bytes.size() + 2) / 3) + 1, '\0');  // and a zero, which is no part of it
  out.resize(EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                             reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()));
  return out;
}

std::string from_base64(const std::string& text) {
  std::string out(text.size(), '\0');
  int length = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                               reinterpret_cast<const unsigned char*>(text.data()), text.size());
  if (length < 0) throw std::runtime_error("the manager's salt is no base64");
  // OpenSSL counts the bytes that padding stands for.
  out.resize(length - (text.size() - (text.find_last_not_of('=') + 1)));
  return out;
}

}  // namespace

Proof prove(const std::string& authkey, const std::string& client_first, const std::string& server_first,
            const std::string& binding) {
  static const std::regex first("(.*,,)(n=[^,]*,r=(.*))"), challenge("r=([^,]*),s=([^,]*),i=([1-9][0-9]{0,6})");
  std::smatch ours, theirs;
  if (!std::regex_match(client_first, ours, first) || !std::regex_match(server_first, theirs, challenge))
    throw std::runtime_error("the manager's challenge is none");
  const std::string header = ours[1], bare = ours[2], client_nonce = ours[3], nonce = theirs[1];
  const std::string salt = from_base64(theirs[2]);
  const int iterations = std::stoi(theirs[3]);
  if (nonce.compare(0, client_nonce.size(), client_nonce) != 0 || nonce.size() < client_nonce.size() + 18 ||
      salt.size() < 16 || iterations < 4096 || iterations > 1'000'000)
    throw std::runtime_error("the manager's challenge is too weak to answer");

  std::string salted(32, '\0');
  PKCS5_PBKDF2_HMAC(authkey.data(), authkey.size(), reinterpret_cast<const unsigned char*>(salt.data()), salt.size(),
                    iterations, EVP_sha256(), salted.size(), reinterpret_cast<unsigned char*>(salted.data()));
  const std::string client_key = mac(salted, "Client Key"), server_key = mac(salted, "Server Key");
  const std::string unproven = "c=" + to_base64(header + binding) + ",r=" + nonce;
  const std::string message = bare + "," + server_first + "," + unproven;
  std::string proof = mac(sha256(client_key), message);
  for (size_t i = 0; i < proof.size(); i++) proof[i] ^= client_key[i];
  return {unproven + ",p=" + to_base64(proof), "v=" + to_base64(mac(server_key, message))};
}

std::string client_first() {
  std::string random(18, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(random.data()), random.size()) != 1)
    throw std::runtime_error("the system has no random bytes");
  return "n,,n=manager,r=" + to_base64(random);
}
