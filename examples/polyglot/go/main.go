// A client of Holdfast in Go, with nothing but the .proto files: stubs from protoc-gen-go and protoc-gen-go-grpc.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"
)

const usage = `client work    [--language go] [--parties N] [--adds N] [--locks N] [--items N] [--expect counter=N,entry=N]
client errors                      each kind of bad input, and what comes of it
client stream  [--adds N] [--in-flight N]   the adds again, over the session stream
client vectors FILE                checks the handshake against docs/handshake-vectors.json
HOLDFAST_ADDRESS and HOLDFAST_AUTHKEY_FILE say where the manager is, and with which key.`

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	// A bound for the whole program. Each call has what is left of it as its deadline, and is withdrawn when it passes.
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	if err := run(ctx, os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, mode string, arguments []string) error {
	switch mode {
	case "work":
		var plan plan
		flags := flag.NewFlagSet(mode, flag.ExitOnError)
		flags.StringVar(&plan.language, "language", "go", "what the items say that they are from")
		flags.IntVar(&plan.parties, "parties", 1, "how many programs do this work at once")
		flags.IntVar(&plan.adds, "adds", 10_000, "how much to add to the counter")
		flags.IntVar(&plan.locks, "locks", 200, "how often to take the lock")
		flags.IntVar(&plan.items, "items", 100, "how many items to produce, and to consume")
		flags.Var(&plan.expected, "expect", "the totals, where they are not parties times what this program does; 5+ is 5 or more")
		flags.Parse(arguments)
		return work(ctx, plan)
	case "errors":
		return showErrors(ctx)
	case "stream":
		flags := flag.NewFlagSet(mode, flag.ExitOnError)
		adds := flags.Int("adds", 10_000, "how much to add")
		inFlight := flags.Int("in-flight", 256, "how many calls may be unanswered at once")
		flags.Parse(arguments)
		return stream(ctx, *adds, *inFlight)
	case "vectors":
		if len(arguments) != 1 {
			return fmt.Errorf("name the file with the vectors: client vectors docs/handshake-vectors.json")
		}
		return checkVectors(arguments[0])
	default:
		return fmt.Errorf("there is no mode %q\n%s", mode, usage)
	}
}

// login is a connection to the manager that the environment names, with both sides proven.
func login(ctx context.Context) (*Connection, error) {
	authkey, err := readAuthkey(os.Getenv("HOLDFAST_AUTHKEY_FILE"))
	if err != nil {
		return nil, err
	}
	connection, err := connect(os.Getenv("HOLDFAST_ADDRESS"))
	if err != nil {
		return nil, err
	}
	return connection, connection.authenticate(ctx, authkey)
}

// print writes one line of JSON.
func print(line map[string]any) {
	if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
		panic(err) // whoever reads this is gone
	}
}
