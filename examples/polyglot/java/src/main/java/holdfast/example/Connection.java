package holdfast.example;

import static java.nio.charset.StandardCharsets.US_ASCII;
import static java.nio.charset.StandardCharsets.UTF_8;

import com.google.protobuf.ByteString;
import holdfast.v1.Auth.BeginRequest;
import holdfast.v1.Auth.FinishRequest;
import holdfast.v1.AuthServiceGrpc;
import holdfast.v1.Manager.OpenRequest;
import holdfast.v1.ManagerServiceGrpc;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ClientInterceptors;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.netty.channel.ChannelOption;
import io.grpc.netty.shaded.io.netty.channel.EventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollDomainSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollEventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.unix.DomainSocketAddress;
import io.grpc.stub.MetadataUtils;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;

/** One connection to a manager, which is one session: handles and the token are good on it and nowhere else. */
final class Connection implements AutoCloseable {
    /** The number of each kind, as the option (holdfast.v1.kind) of its service says it. */
    static final int DICT = 2, VALUE = 3, LOCK = 8, BARRIER = 12, QUEUE = 14;

    // The library encodes metadata whose name ends in -bin by itself: these take the bytes as they are.
    private static final Metadata.Key<byte[]> TOKEN =
            Metadata.Key.of("holdfast-token-bin", Metadata.BINARY_BYTE_MARSHALLER);
    private static final Metadata.Key<byte[]> OBJECT =
            Metadata.Key.of("holdfast-object-bin", Metadata.BINARY_BYTE_MARSHALLER);
    private static final Metadata.Key<String> HANDLE =
            Metadata.Key.of("holdfast-handle", Metadata.ASCII_STRING_MARSHALLER);

    private final ManagedChannel managed;
    private EventLoopGroup events;
    /** Counts each call, bounds it, and shows the token with it. */
    final Channel channel;
    final AtomicLong calls = new AtomicLong();
    volatile ByteString token = ByteString.EMPTY;

    /** Dials nothing yet: gRPC does that with the first call. */
    Connection(String address) {
        NettyChannelBuilder builder;
        if (address.startsWith("http://")) {
            builder = NettyChannelBuilder.forTarget(
                    address.substring("http://".length()), InsecureChannelCredentials.create())
                    // The library goes through the proxy that https.proxyHost names, also without TLS.
                    .proxyDetector(target -> null);
        } else if (address.startsWith("unix:")) {
            // Netty's own sockets, which are there for Linux: those of the JDK do not speak to Unix sockets here.
            events = new EpollEventLoopGroup(1);
            builder = NettyChannelBuilder.forAddress(
                    new DomainSocketAddress(address.substring("unix:".length())), InsecureChannelCredentials.create())
                    .channelType(EpollDomainSocketChannel.class)
                    .eventLoopGroup(events)
                    .withOption(ChannelOption.SO_KEEPALIVE, null); // of TCP; Netty warns of it here
        } else {
            throw new IllegalArgumentException(
                    address + " is not an address that this client takes: write unix:PATH or http://HOST:PORT");
        }
        managed = builder
                .overrideAuthority("localhost") // a path is no valid authority
                .idleTimeout(365, TimeUnit.DAYS) // otherwise the connection ends after 30 minutes without a call
                .maxInboundMessageSize(64 << 20) // the library's own 4 MiB are less than what a value may have
                .build();
        channel = ClientInterceptors.intercept(managed, new ShowToken());
    }

    /** Proves to the manager that we hold the authkey, and makes it prove the same. */
    void authenticate(String authkey) throws GeneralSecurityException {
        var auth = AuthServiceGrpc.newBlockingStub(channel);
        String clientFirst = Handshake.clientFirst();
        var begun = auth.begin(BeginRequest.newBuilder().setClientFirst(clientFirst).build());
        var proof = Handshake.prove(authkey, clientFirst, begun.getServerFirst(), new byte[0]);
        var finished = auth.finish(FinishRequest.newBuilder().setClientFinal(proof.clientFinal()).build());
        if (!MessageDigest.isEqual(finished.getServerFinal().getBytes(US_ASCII), proof.serverFinal().getBytes(US_ASCII))) {
            throw new GeneralSecurityException(
                    "who answers does not hold the authkey: nothing was sent that it could use");
        }
        token = finished.getToken();
    }

    /** Opens the object of a name, and makes it unless it is there. What it returns makes a stub one for that object. */
    ClientInterceptor open(String name, int kind, ByteString spec) {
        var request = OpenRequest.newBuilder().setName(name).setKind(kind).setSpec(spec).build();
        Metadata metadata = new Metadata();
        metadata.put(HANDLE, Integer.toUnsignedString(ManagerServiceGrpc.newBlockingStub(channel).open(request).getHandle()));
        return MetadataUtils.newAttachHeadersInterceptor(metadata);
    }

    /** Makes a stub one for the object of a name, which no handle is needed for. */
    static ClientInterceptor named(String name) {
        Metadata metadata = new Metadata();
        metadata.put(OBJECT, name.getBytes(UTF_8));
        return MetadataUtils.newAttachHeadersInterceptor(metadata);
    }

    /** A connection to the manager that the environment names, with both sides proven. */
    static Connection login() throws IOException, GeneralSecurityException {
        Connection connection = new Connection(environment("HOLDFAST_ADDRESS"));
        connection.authenticate(readAuthkey(Path.of(environment("HOLDFAST_AUTHKEY_FILE"))));
        return connection;
    }

    /** Takes white space off the ends, as the manager does, and refuses a file that others can read. */
    private static String readAuthkey(Path path) throws IOException {
        if (!PosixFilePermissions.toString(Files.getPosixFilePermissions(path)).endsWith("------")) {
            throw new IOException("others can read " + path + ": chmod 600 it");
        }
        return Files.readString(path, US_ASCII).strip();
    }

    static String environment(String name) throws IOException {
        String value = System.getenv(name);
        if (value == null) {
            throw new IOException(name + " is not set: it says where the manager is, or with which key");
        }
        return value;
    }

    @Override
    public void close() {
        managed.shutdownNow();
        if (events != null) {
            events.shutdownGracefully(0, 1, TimeUnit.SECONDS);
        }
    }

    private final class ShowToken implements ClientInterceptor {
        @Override
        public <Q, S> ClientCall<Q, S> interceptCall(MethodDescriptor<Q, S> method, CallOptions options, Channel next) {
            calls.incrementAndGet();
            // The library has no bound by itself. A call that waits is withdrawn when its own passes.
            CallOptions bounded = options.getDeadline() != null ? options : options.withDeadlineAfter(15, TimeUnit.MINUTES);
            return new SimpleForwardingClientCall<>(next.newCall(method, bounded)) {
                @Override
                public void start(Listener<S> listener, Metadata headers) {
                    if (!token.isEmpty()) {
                        headers.put(TOKEN, token.toByteArray());
                    }
                    super.start(listener, headers);
                }
            };
        }
    }
}
