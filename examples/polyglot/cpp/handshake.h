#pragma once

#include <string>

// What answers a challenge: what we say, and what the manager has to say then.
struct Proof {
  std::string client_final;
  std::string server_final;
};

// Answers the manager's challenge, as docs/protocol.md says in section 2 (SCRAM-SHA-256, RFC 5802). The binding is empty
// without TLS. Throws std::runtime_error if the challenge is too weak to answer.
Proof prove(const std::string& authkey, const std::string& client_first, const std::string& server_first,
            const std::string& binding);

// A new client-first, with a nonce that nobody has used.
std::string client_first();
