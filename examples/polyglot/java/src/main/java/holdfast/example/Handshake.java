package holdfast.example;

import static java.nio.charset.StandardCharsets.US_ASCII;

import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.security.SecureRandom;
import java.util.Base64;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.crypto.Mac;
import javax.crypto.SecretKeyFactory;
import javax.crypto.spec.PBEKeySpec;
import javax.crypto.spec.SecretKeySpec;

/** The proofs that both ends hold the authkey, as docs/protocol.md says in section 2 (SCRAM-SHA-256, RFC 5802). */
final class Handshake {
    private static final Pattern FIRST = Pattern.compile("(.*,,)(n=[^,]*,r=(.*))");
    private static final Pattern CHALLENGE = Pattern.compile("r=([^,]*),s=([^,]*),i=([1-9][0-9]{0,6})");

    /** What answers a challenge: what we say, and what the manager has to say then. */
    record Proof(String clientFinal, String serverFinal) {}

    /** A new client-first, with a nonce that nobody has used. */
    static String clientFirst() {
        byte[] random = new byte[18];
        new SecureRandom().nextBytes(random);
        return "n,,n=manager,r=" + Base64.getEncoder().encodeToString(random);
    }

    /** Answers the manager's challenge. The binding is empty without TLS. */
    static Proof prove(String authkey, String clientFirst, String serverFirst, byte[] binding)
            throws GeneralSecurityException {
        Matcher ours = FIRST.matcher(clientFirst);
        Matcher theirs = CHALLENGE.matcher(serverFirst);
        if (!ours.matches() || !theirs.matches()) {
            throw new GeneralSecurityException("the manager's challenge is none");
        }
        String nonce = theirs.group(1);
        byte[] salt = Base64.getDecoder().decode(theirs.group(2));
        int iterations = Integer.parseInt(theirs.group(3));
        if (!nonce.startsWith(ours.group(3)) || nonce.length() < ours.group(3).length() + 18 || salt.length < 16
                || iterations < 4096 || iterations > 1_000_000) {
            throw new GeneralSecurityException("the manager's challenge is too weak to answer");
        }

        byte[] salted = SecretKeyFactory.getInstance("PBKDF2WithHmacSHA256")
                .generateSecret(new PBEKeySpec(authkey.toCharArray(), salt, iterations, 256)).getEncoded();
        byte[] clientKey = mac(salted, "Client Key");
        byte[] serverKey = mac(salted, "Server Key");
        String unproven = "c=" + base64(concat(ours.group(1).getBytes(US_ASCII), binding)) + ",r=" + nonce;
        String message = ours.group(2) + "," + serverFirst + "," + unproven;
        byte[] proof = mac(MessageDigest.getInstance("SHA-256").digest(clientKey), message);
        for (int i = 0; i < proof.length; i++) {
            proof[i] ^= clientKey[i];
        }
        return new Proof(unproven + ",p=" + base64(proof), "v=" + base64(mac(serverKey, message)));
    }

    private static byte[] mac(byte[] key, String text) throws GeneralSecurityException {
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        return mac.doFinal(text.getBytes(US_ASCII));
    }

    private static String base64(byte[] bytes) {
        return Base64.getEncoder().encodeToString(bytes);
    }

    private static byte[] concat(byte[] left, byte[] right) {
        byte[] both = java.util.Arrays.copyOf(left, left.length + right.length);
        System.arraycopy(right, 0, both, left.length, right.length);
        return both;
    }
}
