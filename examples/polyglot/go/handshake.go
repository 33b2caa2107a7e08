package main

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
)

// prove answers the manager's challenge, as docs/protocol.md says in section 2 (SCRAM-SHA-256, RFC 5802).
// It returns client-final, which shows the manager that we hold the authkey, and the server-final by which the manager
// has to show the same. The binding is empty without TLS.
func prove(authkey, clientFirst, serverFirst string, binding []byte) (clientFinal, serverFinal string, err error) {
	header, bare, _ := strings.Cut(clientFirst, ",,")
	_, clientNonce, _ := strings.Cut(bare, ",r=")
	parts := strings.Split(serverFirst, ",")
	if len(parts) != 3 || !strings.HasPrefix(parts[0], "r=") || !strings.HasPrefix(parts[1], "s=") || !strings.HasPrefix(parts[2], "i=") {
		return "", "", errors.New("the manager's challenge is none")
	}
	nonce := parts[0][2:]
	salt, saltError := base64.StdEncoding.DecodeString(parts[1][2:])
	iterations, iterationsError := strconv.Atoi(parts[2][2:])
	if !strings.HasPrefix(nonce, clientNonce) || len(nonce) < len(clientNonce)+18 ||
		saltError != nil || len(salt) < 16 || iterationsError != nil || iterations < 4096 || iterations > 1_000_000 {
		return "", "", errors.New("the manager's challenge is too weak to answer")
	}

	salted, err := pbkdf2.Key(sha256.New, authkey, salt, iterations, sha256.Size)
	if err != nil {
		return "", "", err
	}
	clientKey, serverKey := mac(salted, "Client Key"), mac(salted, "Server Key")
	storedKey := sha256.Sum256(clientKey)
	clientFinal = "c=" + base64.StdEncoding.EncodeToString(append([]byte(header+",,"), binding...)) + ",r=" + nonce
	message := bare + "," + serverFirst + "," + clientFinal
	proof := make([]byte, sha256.Size)
	subtle.XORBytes(proof, clientKey, mac(storedKey[:], message))
	return clientFinal + ",p=" + base64.StdEncoding.EncodeToString(proof),
		"v=" + base64.StdEncoding.EncodeToString(mac(serverKey, message)), nil
}

func mac(key []byte, text string) []byte {
	hash := hmac.New(sha256.New, key)
	hash.Write([]byte(text))
	return hash.Sum(nil)
}
