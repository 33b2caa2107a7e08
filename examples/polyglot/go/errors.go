package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	pb "holdfast.example/polyglot/holdfastv1"
)

// reason is the name of the reason of a refusal, as REASON_EMPTY, or nothing: an error that the library made by itself, as
// that a deadline has passed, has none. The import of errdetails is what makes the details readable: Details() has an error
// in the place of each message whose type is not linked in.
func reason(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.Domain == "holdfast.v1" {
			return info.Reason
		}
	}
	return ""
}

// showErrors does what is wrong in six ways, and prints what a Go program sees of it.
func showErrors(ctx context.Context) error {
	if err := wrongAuthkey(ctx); err != nil {
		return err
	}
	connection, err := login(ctx)
	if err != nil {
		return err
	}
	defer connection.Close()
	const dictName, queueName = "polyglot/errors/go/dict", "polyglot/errors/go/queue"
	if _, err := connection.open(ctx, dictName, kindDict, nil); err != nil {
		return err
	}
	queue, err := connection.open(ctx, queueName, kindQueue, nil)
	if err != nil {
		return err
	}
	dicts, queues := pb.NewDictServiceClient(connection), pb.NewQueueServiceClient(connection)
	manager := pb.NewManagerServiceClient(connection)

	token := connection.token
	connection.token = ""
	_, err = manager.Status(ctx, &pb.StatusRequest{})
	connection.token = token
	show("no-token", err)

	_, err = dicts.Len(named(ctx, "polyglot/nobody has made this"), &pb.DictLenRequest{})
	show("missing-object", err)

	_, err = pb.NewValueServiceClient(connection).Get(named(ctx, dictName), &pb.ValueGetRequest{})
	show("wrong-kind", err)

	// The deadline goes to the manager with the call, and the call is withdrawn there when it passes.
	soon, cancel := context.WithTimeout(queue, 200*time.Millisecond)
	_, err = queues.Get(soon, &pb.QueueGetRequest{})
	cancel()
	show("deadline", err)

	waiting, cancel := context.WithCancel(queue)
	answer := make(chan error, 1)
	go func() {
		_, err := queues.Get(waiting, &pb.QueueGetRequest{})
		answer <- err
	}()
	if err := untilSomebodyWaits(queue, queues); err != nil {
		cancel()
		return err
	}
	cancel()
	show("cancel", <-answer)

	for _, name := range []string{dictName, queueName} {
		if _, err := manager.Delete(ctx, &pb.DeleteRequest{Name: name}); err != nil {
			return err
		}
	}
	return nil
}

// wrongAuthkey needs a connection of its own: a failed handshake ends it.
func wrongAuthkey(ctx context.Context) error {
	connection, err := connect(os.Getenv("HOLDFAST_ADDRESS"))
	if err != nil {
		return err
	}
	defer connection.Close()
	show("wrong-authkey", connection.authenticate(ctx, strings.Repeat("A", 43)))
	return nil
}

// untilSomebodyWaits asks until the call to Get has come to the queue.
func untilSomebodyWaits(queue context.Context, queues pb.QueueServiceClient) error {
	for {
		size, err := queues.Size(queue, &pb.QueueSizeRequest{})
		if err != nil || size.Getters > 0 {
			return err
		}
	}
}

func show(name string, err error) {
	line := map[string]any{
		"case": name, "code": code.Code(status.Code(err)).String(), "reason": nil, "shown": fmt.Sprint(err),
	}
	if reason := reason(err); reason != "" {
		line["reason"] = reason
	}
	print(line)
}
