package main

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	pb "holdfast.example/polyglot/holdfastv1"
)

// Connection is one connection to a manager, which is one session: handles and the token are good on it and nowhere else.
type Connection struct {
	*grpc.ClientConn
	binding string // what the handshake begins with
	token   string
	calls   atomic.Int64
}

// connect authenticates nothing yet, and does not even dial: gRPC does that with the first call.
func connect(address string) (*Connection, error) {
	connection := &Connection{binding: "n,,"}
	transport := insecure.NewCredentials()
	network, place := "tcp", ""
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, place = "unix", path
	} else if hostAndPort, ok := strings.CutPrefix(address, "http://"); ok {
		place = hostAndPort
	} else if hostAndPort, ok := strings.CutPrefix(address, "https://"); ok {
		place = hostAndPort
		connection.binding = "p=tls-server-end-point,,"
		// The certificate is signed by itself. What makes it good is that the proofs are bound to it: see authenticate.
		transport = credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true})
	} else {
		return nil, fmt.Errorf("%q is not an address: write unix:PATH, http://HOST:PORT or https://HOST:PORT", address)
	}

	// The library connects again by itself when a connection is lost. The new one would not be authenticated, and have
	// none of our handles: better an error that says so.
	var dialled atomic.Bool
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		if dialled.Swap(true) {
			return nil, errors.New("the connection is lost, and the session with it: connect and authenticate again")
		}
		return new(net.Dialer).DialContext(ctx, network, place)
	}
	var err error
	connection.ClientConn, err = grpc.NewClient("passthrough:///"+place,
		grpc.WithTransportCredentials(transport),
		grpc.WithContextDialer(dial),
		grpc.WithAuthority("localhost"),                              // a path is no valid authority
		grpc.WithIdleTimeout(0),                                      // otherwise the connection ends after 30 minutes without a call
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)), // the library's 4 MiB are less than a value may have
		grpc.WithUnaryInterceptor(connection.intercept))
	return connection, err
}

// intercept counts each call, and shows the token with it.
func (c *Connection) intercept(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn,
	invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	c.calls.Add(1)
	return invoke(c.shown(ctx), method, request, reply, conn, options...)
}

// shown adds the token. The library encodes metadata whose name ends in -bin by itself: these are the bytes as they are.
func (c *Connection) shown(ctx context.Context) context.Context {
	if c.token == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "holdfast-token-bin", c.token)
}

// authenticate proves to the manager that we hold the authkey, and makes it prove the same.
func (c *Connection) authenticate(ctx context.Context, authkey string) error {
	random := make([]byte, 18)
	rand.Read(random) // never fails
	clientFirst := c.binding + "n=manager,r=" + base64.StdEncoding.EncodeToString(random)

	auth := pb.NewAuthServiceClient(c)
	var manager peer.Peer
	begun, err := auth.Begin(ctx, &pb.BeginRequest{ClientFirst: clientFirst}, grpc.Peer(&manager))
	if err != nil {
		return err
	}
	clientFinal, serverFinal, err := prove(authkey, clientFirst, begun.ServerFirst, certificateHash(manager))
	if err != nil {
		return err
	}
	finished, err := auth.Finish(ctx, &pb.FinishRequest{ClientFinal: clientFinal})
	if err != nil {
		return err
	}
	if !hmac.Equal([]byte(serverFinal), []byte(finished.ServerFinal)) {
		return errors.New("who answers does not hold the authkey: nothing was sent that it could use")
	}
	c.token = string(finished.Token)
	return nil
}

// certificateHash is what binds the proofs to this connection, and nothing without TLS.
func certificateHash(manager peer.Peer) []byte {
	secured, ok := manager.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return nil
	}
	certificate := secured.State.PeerCertificates[0]
	switch certificate.SignatureAlgorithm {
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		hash := sha512.Sum384(certificate.Raw)
		return hash[:]
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		hash := sha512.Sum512(certificate.Raw)
		return hash[:]
	default:
		hash := sha256.Sum256(certificate.Raw)
		return hash[:]
	}
}

// open opens the object of a name, and makes it unless it is there. What it returns says, as the context of a call, on
// which object the call is.
func (c *Connection) open(ctx context.Context, name string, kind uint32, spec []byte) (context.Context, error) {
	opened, err := pb.NewManagerServiceClient(c).Open(ctx, &pb.OpenRequest{Name: name, Kind: kind, Spec: spec})
	if err != nil {
		return nil, err
	}
	return metadata.AppendToOutgoingContext(ctx, "holdfast-handle", strconv.FormatUint(uint64(opened.Handle), 10)), nil
}

// named is the context of a call on the object of a name, which no handle is needed for.
func named(ctx context.Context, name string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "holdfast-object-bin", name)
}

// readAuthkey takes white space off the ends, as the manager does, and refuses a file that others can read.
func readAuthkey(path string) (string, error) {
	about, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("the authkey file, named by HOLDFAST_AUTHKEY_FILE: %w", err)
	}
	if about.Mode()&0o077 != 0 {
		return "", fmt.Errorf("others can read %s: chmod 600 it", path)
	}
	text, err := os.ReadFile(path)
	return strings.TrimSpace(string(text)), err
}
