package holdfast.example;

import com.google.gson.GsonBuilder;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.Reader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;

/** A client of Holdfast in Java, with nothing but the .proto files: stubs from Maven's protobuf plugin. */
public final class Client {
    private static final String USAGE = """
            client work    [--language java] [--parties N] [--adds N] [--locks N] [--items N] [--expect counter=N,entry=N]
            client errors          each kind of bad input, and what comes of it
            client vectors FILE    checks the handshake against docs/handshake-vectors.json
            HOLDFAST_ADDRESS and HOLDFAST_AUTHKEY_FILE say where the manager is, and with which key.""";

    public static void main(String[] arguments) {
        int status = 1;
        try {
            status = run(List.of(arguments)) ? 0 : 1;
        } catch (Exception error) {
            System.err.println("error: " + error.getMessage());
        }
        System.exit(status); // the library's threads would keep the program for a while
    }

    private static boolean run(List<String> arguments) throws Exception {
        String mode = arguments.isEmpty() ? "" : arguments.get(0);
        if (mode.equals("work")) {
            return new Work(Work.Plan.of(arguments.subList(1, arguments.size()))).run();
        } else if (mode.equals("errors") && arguments.size() == 1) {
            return Errors.show();
        } else if (mode.equals("vectors") && arguments.size() == 2) {
            return checkVectors(Path.of(arguments.get(1)));
        }
        throw new IllegalArgumentException("this is not how to call it:\n" + USAGE);
    }

    /** Prints one line of JSON. */
    static void print(Map<String, Object> line) {
        System.out.println(new GsonBuilder().serializeNulls().disableHtmlEscaping().create().toJson(line));
        System.out.flush();
    }

    /** Checks the handshake against what other implementations have computed, and that it refuses what it must. */
    private static boolean checkVectors(Path path) throws Exception {
        JsonObject file;
        try (Reader reader = Files.newBufferedReader(path)) {
            file = JsonParser.parseReader(reader).getAsJsonObject();
        }
        var vectors = file.getAsJsonArray("vectors");
        var refused = file.getAsJsonArray("refused");
        boolean ok = !vectors.isEmpty() && !refused.isEmpty();
        for (JsonElement vector : vectors) {
            var proof = Handshake.prove(field(vector, "authkey"), field(vector, "client_first"),
                    field(vector, "server_first"), HexFormat.of().parseHex(field(vector, "binding_hex")));
            if (!proof.clientFinal().equals(field(vector, "client_final"))
                    || !proof.serverFinal().equals(field(vector, "server_final"))) {
                System.err.println(field(vector, "name") + ": made " + proof);
                ok = false;
            }
        }
        for (JsonElement vector : refused) {
            if (!isRefused(field(vector, "client_first"), field(vector, "server_first"))) {
                System.err.println(field(vector, "name") + ": was not refused");
                ok = false;
            }
        }
        if (ok) {
            System.out.println(vectors.size() + " vectors hold, " + refused.size() + " challenges are refused");
        }
        return ok;
    }

    private static boolean isRefused(String clientFirst, String serverFirst) {
        try {
            Handshake.prove("pencil", clientFirst, serverFirst, new byte[0]);
            return false;
        } catch (GeneralSecurityException refused) {
            return true;
        }
    }

    private static String field(JsonElement vector, String name) {
        return vector.getAsJsonObject().get(name).getAsString();
    }
}
