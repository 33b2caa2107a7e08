package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
)

// checkVectors checks the handshake against what other implementations have computed, and that it refuses what it must.
func checkVectors(path string) error {
	type vector struct {
		Name        string
		Authkey     string
		BindingHex  string `json:"binding_hex"`
		ClientFirst string `json:"client_first"`
		ServerFirst string `json:"server_first"`
		ClientFinal string `json:"client_final"`
		ServerFinal string `json:"server_final"`
	}
	var file struct{ Vectors, Refused []vector }
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, &file); err != nil {
		return err
	}
	if len(file.Vectors) == 0 || len(file.Refused) == 0 {
		return fmt.Errorf("%s has no vectors", path)
	}
	for _, vector := range file.Vectors {
		binding, err := hex.DecodeString(vector.BindingHex)
		if err != nil {
			return err
		}
		clientFinal, serverFinal, err := prove(vector.Authkey, vector.ClientFirst, vector.ServerFirst, binding)
		if err != nil {
			return fmt.Errorf("%s: %w", vector.Name, err)
		}
		if clientFinal != vector.ClientFinal || serverFinal != vector.ServerFinal {
			return fmt.Errorf("%s: made %s and %s", vector.Name, clientFinal, serverFinal)
		}
	}
	for _, vector := range file.Refused {
		if _, _, err := prove("pencil", vector.ClientFirst, vector.ServerFirst, nil); err == nil {
			return fmt.Errorf("%s: was not refused", vector.Name)
		}
	}
	fmt.Printf("%d vectors hold, %d challenges are refused\n", len(file.Vectors), len(file.Refused))
	return nil
}
