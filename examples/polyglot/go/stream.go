package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	pb "holdfast.example/polyglot/holdfastv1"
)

// The ops that are called here, as the option (holdfast.v1.op) of each method numbers them.
const (
	opOpen = 1 // of ManagerService, which is handle 0
	opGet  = 1 // of ValueService
	opAdd  = 3
)

// stream adds to a counter over the session stream, with many calls in flight, and says how fast that was.
func stream(ctx context.Context, adds, inFlight int) error {
	connection, err := login(ctx)
	if err != nil {
		return err
	}
	defer connection.Close()
	session, err := openSession(ctx, connection, inFlight)
	if err != nil {
		return err
	}

	spec, err := proto.Marshal(&pb.ValueSpec{Initial: integer(0)})
	if err != nil {
		return err
	}
	var opened pb.OpenResponse
	open := &pb.OpenRequest{Name: "polyglot/counter over the stream", Kind: kindValue, Spec: spec}
	if err := session.call(0, opOpen, open, &opened); err != nil {
		return err
	}
	var before, after pb.ValueGetResponse
	if err := session.call(opened.Handle, opGet, &pb.ValueGetRequest{}, &before); err != nil {
		return err
	}
	begin := time.Now()
	if err := session.pipeline(opened.Handle, opAdd, &pb.ValueAddRequest{Delta: integer(1)}, adds); err != nil {
		return err
	}
	seconds := time.Since(begin).Seconds()
	if err := session.call(opened.Handle, opGet, &pb.ValueGetRequest{}, &after); err != nil {
		return err
	}
	if err := session.goodbye(); err != nil {
		return err
	}

	added := after.GetValue().GetInteger() - before.GetValue().GetInteger()
	ok := added == int64(adds)
	print(map[string]any{
		"language": "go", "door": "stream", "calls": session.sequence, "seconds": seconds,
		"calls_per_second": float64(adds) / seconds, "counter": added, "ok": ok,
	})
	if !ok {
		return fmt.Errorf("%d were added, and the counter rose by %d", adds, added)
	}
	return nil
}

// session is the stream that carries all calls. One goroutine sends and another receives: who only sends is stopped by flow
// control once the replies that nobody reads fill the window.
type session struct {
	stream   grpc.BidiStreamingClient[pb.ClientFrame, pb.ServerFrame]
	sequence uint64        // of the last call
	received atomic.Uint64 // replies so far; every frame says it
	room     chan struct{} // has a place for each call that is not answered
	replies  chan *pb.Reply
	ended    chan struct{} // closed when there will be no more replies
	end      error         // why not; to be read once ended is closed
}

func openSession(ctx context.Context, connection *Connection, inFlight int) (*session, error) {
	// A unary interceptor sees no stream: this is where the token has to be shown again.
	frames, err := pb.NewSessionServiceClient(connection).Connect(connection.shown(ctx))
	if err != nil {
		return nil, err
	}
	s := &session{stream: frames, replies: make(chan *pb.Reply, inFlight), ended: make(chan struct{})}
	host, _ := os.Hostname() // for people, and may be left out
	hello := &pb.Hello{Protocol: 1, Name: "polyglot go", Pid: uint32(os.Getpid()), Host: host}
	if err := frames.Send(&pb.ClientFrame{Frame: &pb.ClientFrame_Hello{Hello: hello}}); err != nil && err != io.EOF {
		return nil, err
	}
	first, err := frames.Recv() // which tells what was wrong, if anything was
	if err != nil {
		return nil, err
	}
	welcome := first.GetWelcome()
	if welcome == nil {
		return nil, errors.New("the first frame was no Welcome")
	}
	s.room = make(chan struct{}, min(inFlight, int(welcome.CallsInFlight)))
	go s.receive()
	return s, nil
}

// send sends a frame. What went wrong with the stream is told by receiving: sending says no more than io.EOF.
func (s *session) send(frame *pb.ClientFrame) error {
	frame.Received = s.received.Load()
	err := s.stream.Send(frame)
	if err == io.EOF {
		<-s.ended
		return s.end
	}
	return err
}

// receive hands on the replies, and makes room for further calls: not before it has counted them, since the next frame must
// say that they are here.
func (s *session) receive() {
	defer close(s.ended)
	for {
		frame, err := s.stream.Recv()
		if err != nil {
			s.end = err
			return
		}
		if reply := frame.GetReply(); reply != nil {
			s.received.Add(1)
			s.replies <- reply
			<-s.room
		} else if goodbye := frame.GetGoodbye(); goodbye != nil {
			s.end = fmt.Errorf("the manager ends the session: %s", goodbye.Message)
			return
		}
	}
}

// start sends a call, once there is room for it.
func (s *session) start(handle, op uint32, request []byte) error {
	select {
	case s.room <- struct{}{}:
	case <-s.ended:
		return s.end
	}
	s.sequence++
	call := &pb.Call{Sequence: s.sequence, Handle: handle, Op: op, Request: request}
	return s.send(&pb.ClientFrame{Frame: &pb.ClientFrame_Call{Call: call}})
}

// finish waits for the next reply, whichever it is.
func (s *session) finish() (*pb.Reply, error) {
	var reply *pb.Reply
	select {
	case reply = <-s.replies:
	case <-s.ended:
		return nil, s.end
	}
	if refusal := reply.GetRefusal(); refusal != nil {
		return nil, fmt.Errorf("%s: %s", refusal.Reason, refusal.Message)
	}
	return reply, nil
}

// call makes one call and waits for its reply. There is no other on its way, so the next reply is the one to it.
func (s *session) call(handle, op uint32, request, response proto.Message) error {
	encoded, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	if err := s.start(handle, op, encoded); err != nil {
		return err
	}
	reply, err := s.finish()
	if err != nil {
		return err
	}
	return proto.Unmarshal(reply.GetResponse(), response)
}

// pipeline makes the same call many times, and waits for no reply before it sends the next call. The replies may come in any
// order; each call must have had one in the end.
func (s *session) pipeline(handle, op uint32, request proto.Message, times int) error {
	encoded, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	first, sent := s.sequence+1, make(chan error, 1)
	go func() {
		for range times {
			if err := s.start(handle, op, encoded); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	answered := make([]bool, times)
	for range times {
		reply, err := s.finish()
		if err != nil {
			return err
		}
		if reply.Sequence < first || reply.Sequence >= first+uint64(times) || answered[reply.Sequence-first] {
			return fmt.Errorf("a reply to call %d, which is none that waits for one", reply.Sequence)
		}
		answered[reply.Sequence-first] = true
	}
	return <-sent
}

// goodbye closes the session, so that it is not taken for lost, and waits until the manager has.
func (s *session) goodbye() error {
	if err := s.send(&pb.ClientFrame{Frame: &pb.ClientFrame_Goodbye{Goodbye: &pb.Goodbye{}}}); err != nil {
		return err
	}
	if err := s.stream.CloseSend(); err != nil {
		return err
	}
	<-s.ended
	if s.end != io.EOF { // which is the status OK
		return s.end
	}
	return nil
}
