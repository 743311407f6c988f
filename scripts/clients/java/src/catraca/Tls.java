package catraca;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.PublicKey;
import java.security.Signature;
import java.security.cert.Certificate;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.Collection;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLException;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.SSLSocketFactory;
import javax.net.ssl.TrustManagerFactory;

/**
 * TLS 1.3 to nodes whose certificates are of the given authorities, and of the host that the
 * address names. There is no way around either.
 */
final class Tls {
    private static final String[] VERSIONS = {"TLSv1.3"};
    private static final Pattern KEY =
            Pattern.compile("-----BEGIN PRIVATE KEY-----([^-]+)-----END PRIVATE KEY-----");
    /** The key store lives in memory, and ends with the process: it keeps nothing from anybody. */
    private static final char[] NO_PASSWORD = {};

    private final SSLContext context;

    private Tls(SSLContext context) {
        this.context = context;
    }

    /**
     * Of PEM files; certificate and key are null where the client shows none. WrongField for what
     * can't be used.
     */
    static Tls of(Path ca, Path certificate, Path key) {
        try {
            KeyStore known = store();
            int count = 0;
            for (Certificate authority : certificates(ca)) {
                known.setCertificateEntry("authority-" + count++, authority);
            }
            TrustManagerFactory trust =
                    TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
            trust.init(known);
            KeyManagerFactory own =
                    KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
            own.init(certificate == null ? store() : shown(certificate, key), NO_PASSWORD);
            SSLContext context = SSLContext.getInstance("TLS");
            context.init(own.getKeyManagers(), trust.getTrustManagers(), null);
            return new Tls(context);
        } catch (GeneralSecurityException | IOException wrong) {
            String why = "TLS can't be set up with these files: " + wrong.getMessage();
            throw new CatracaException.WrongField(why);
        }
    }

    /** Shakes hands over a connected socket, as long as that one's own time lasts. */
    SSLSocket over(Socket socket, String host) throws IOException {
        SSLSocketFactory factory = context.getSocketFactory();
        SSLSocket secured = (SSLSocket) factory.createSocket(socket, host, socket.getPort(), true);
        SSLParameters parameters = secured.getSSLParameters();
        parameters.setProtocols(VERSIONS);
        // It is the check of the certificate's name that is meant.
        parameters.setEndpointIdentificationAlgorithm("HTTPS");
        secured.setSSLParameters(parameters);
        try {
            secured.startHandshake();
        } catch (SSLException failed) {
            boolean refused = failed.getCause() instanceof CertificateException;
            String what = "the connection can't be made secure: "
                    + (refused ? "the node's certificate does not hold: " : "");
            throw new SSLException(what + failed.getMessage(), failed);
        }
        return secured;
    }

    private static KeyStore store() throws GeneralSecurityException, IOException {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, NO_PASSWORD);
        return store;
    }

    private static KeyStore shown(Path certificate, Path key)
            throws GeneralSecurityException, IOException {
        Certificate[] chain = certificates(certificate).toArray(new Certificate[0]);
        Matcher found = KEY.matcher(new String(read(key), StandardCharsets.ISO_8859_1));
        if (!found.find()) {
            throw new IOException(key + " holds no PRIVATE KEY in PEM"
                    + " (openssl pkcs8 -topk8 -nocrypt makes one of other forms)");
        }
        PKCS8EncodedKeySpec encoded;
        try {
            encoded = new PKCS8EncodedKeySpec(Base64.getMimeDecoder().decode(found.group(1)));
        } catch (IllegalArgumentException wrong) {
            throw new IOException(key + " holds a PRIVATE KEY that is no Base64", wrong);
        }
        PublicKey open = chain[0].getPublicKey();
        PrivateKey secret = KeyFactory.getInstance(open.getAlgorithm()).generatePrivate(encoded);
        if (!belongTogether(secret, open)) {
            throw new IOException(key + " is not the key of " + certificate);
        }
        KeyStore store = store();
        store.setKeyEntry("own", secret, NO_PASSWORD, chain);
        return store;
    }

    private static boolean belongTogether(PrivateKey secret, PublicKey open)
            throws GeneralSecurityException {
        Signature signature = Signature.getInstance(switch (open.getAlgorithm()) {
            case "EC" -> "SHA256withECDSA";
            case "RSA" -> "SHA256withRSA";
            default -> open.getAlgorithm();
        });
        signature.initSign(secret);
        byte[] signed = signature.sign();
        signature.initVerify(open);
        return signature.verify(signed);
    }

    private static byte[] read(Path file) throws IOException {
        try {
            return Files.readAllBytes(file);
        } catch (IOException failed) {
            String why = failed.getClass().getSimpleName();
            throw new IOException(file + " can't be read (" + why + ")", failed);
        }
    }

    private static Collection<? extends Certificate> certificates(Path file)
            throws GeneralSecurityException, IOException {
        ByteArrayInputStream pem = new ByteArrayInputStream(read(file));
        try {
            Collection<? extends Certificate> found =
                    CertificateFactory.getInstance("X.509").generateCertificates(pem);
            if (!found.isEmpty()) {
                return found;
            }
        } catch (CertificateException wrong) {
            String why = " holds what is no certificate: " + wrong.getMessage();
            throw new IOException(file + why, wrong);
        }
        throw new IOException(file + " holds no certificate");
    }
}
