package catraca;

import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.function.BiConsumer;

/**
 * One connection, of TCP or of TLS over it, past its handshakes. One thread reads it and another
 * one writes, so that a server that waits for its answers to be read never waits for us.
 */
final class Connection {
    /**
     * A socket whose reads have one end together, however many they are: a handshake of TLS reads
     * as often as it likes.
     */
    private static final class TimedSocket extends Socket {
        /** Of System.nanoTime; 0 waits for ever. */
        private volatile long until;

        @Override
        public InputStream getInputStream() throws IOException {
            return new FilterInputStream(super.getInputStream()) {
                @Override
                public int read() throws IOException {
                    byte[] one = new byte[1];
                    return read(one, 0, 1) < 0 ? -1 : one[0] & 0xFF;
                }

                @Override
                public int read(byte[] into, int at, int count) throws IOException {
                    setSoTimeout(until == 0 ? 0 : millisTo(until));
                    return super.read(into, at, count);
                }
            };
        }
    }

    /** Bytes written at once, at most: past a few records of TLS more at once saves nothing. */
    private static final int WRITTEN_AT_ONCE = 1 << 16;

    final Welcome welcome;
    /** Until when the token that it came with counts, nanoseconds since 1970 UTC; 0 for no end. */
    final long expiresAtNs;
    /** Closed without the goodbye of TLS, which could wait for a server that reads nothing. */
    private final Socket socket;
    private final InputStream input;
    private final OutputStream into;
    /** Frames to write. It has room for all that may be unanswered. */
    private final BlockingQueue<byte[]> output;
    private volatile Thread writer;

    private Connection(Socket socket, InputStream input, OutputStream into, Welcome welcome, long expiresAtNs) {
        this.socket = socket;
        this.input = input;
        this.into = into;
        this.welcome = welcome;
        this.expiresAtNs = expiresAtNs;
        output = new ArrayBlockingQueue<>((int) Math.min(welcome.inFlight(), Client.MAX_IN_FLIGHT) + 2);
    }

    /**
     * Connects and shakes hands, all in this time (but for the name's resolution), over TLS where
     * that is not null. Refused, or NotSent for whatever else.
     */
    static Connection open(String address, byte[] hello, Tls tls, long withinNs) {
        int colon = address.lastIndexOf(':');
        String host = address.substring(0, colon).replaceAll("^\\[|]$", "");
        TimedSocket socket = new TimedSocket();
        try {
            InetSocketAddress place = new InetSocketAddress(host, Integer.parseInt(address.substring(colon + 1)));
            socket.until = nonZero(System.nanoTime() + withinNs);
            socket.connect(place, millisTo(socket.until));
            socket.setTcpNoDelay(true);
            Socket spoken = tls == null ? socket : tls.over(socket, host);
            spoken.getOutputStream().write(hello);
            InputStream input = new BufferedInputStream(spoken.getInputStream(), 1 << 16);
            Welcome welcome = greeted(input, Welcome.class);
            // Behind a token it says until when that one counts.
            boolean hasToken = hello.length > Requests.HELLO_LEN;
            long expiresAtNs = hasToken ? greeted(input, Replies.AuthState.class).expiresAtNs() : 0;
            socket.until = 0;
            return new Connection(socket, input, spoken.getOutputStream(), welcome, expiresAtNs);
        } catch (CatracaException.Refused refused) {
            close(socket);
            throw refused;
        } catch (IOException | RuntimeException failed) {
            close(socket);
            throw new CatracaException.NotSent(String.valueOf(failed.getMessage()), false);
        }
    }

    /** The next answer of a handshake, which is this one or a refusal. */
    private static <T> T greeted(InputStream input, Class<T> expected) throws IOException {
        Replies.Reply reply = next(input);
        if (reply.correlation() == 0 && reply.answer() instanceof CatracaException.Refused refused) {
            throw refused;
        }
        if (reply.correlation() != 0 || !expected.isInstance(reply.answer())) {
            throw new CatracaException.BrokenProtocol("no WELCOME came");
        }
        return expected.cast(reply.answer());
    }

    /** Reads in a thread of its own: each reply, or at last why there are no more, with null for the reply. */
    void read(BiConsumer<Replies.Reply, Exception> received) {
        start("catraca-writer", this::write);
        start("catraca-reader", () -> {
            try {
                while (true) {
                    received.accept(next(input), null);
                }
            } catch (IOException | RuntimeException failed) {
                received.accept(null, failed);
            }
        });
    }

    /** Takes a frame to write; false where there is no room, which there is for all that may be unanswered. */
    boolean send(byte[] frame) {
        return output.offer(frame);
    }

    void close() {
        close(socket);
        Thread writing = writer;
        if (writing != null) {
            writing.interrupt();
        }
    }

    private void write() {
        writer = Thread.currentThread();
        List<byte[]> frames = new ArrayList<>();
        ByteArrayOutputStream together = new ByteArrayOutputStream();
        try {
            while (!socket.isClosed()) {
                // What waits goes out in one piece: a record of TLS costs more than a frame.
                frames.add(output.take());
                output.drainTo(frames);
                for (byte[] frame : frames) {
                    together.writeBytes(frame);
                    if (together.size() >= WRITTEN_AT_ONCE) {
                        into.write(together.toByteArray());
                        together.reset();
                    }
                }
                if (together.size() > 0) {
                    into.write(together.toByteArray());
                    together.reset();
                }
                frames.clear();
            }
        } catch (IOException | InterruptedException ended) {
            // The reader tells.
            close(socket);
        }
    }

    /** The next reply; its length and kind are checked before anything is made of it. */
    private static Replies.Reply next(InputStream input) throws IOException {
        byte[] header = new byte[Requests.HEADER_LEN];
        fill(input, header, 0);
        byte[] raw = java.util.Arrays.copyOf(header, Replies.length(header));
        fill(input, raw, Requests.HEADER_LEN);
        return Replies.decode(raw);
    }

    private static void fill(InputStream input, byte[] raw, int from) throws IOException {
        for (int at = from; at < raw.length; ) {
            int count = input.read(raw, at, raw.length - at);
            if (count < 0) {
                throw new EOFException("the server closed the connection");
            }
            at += count;
        }
    }

    /** An end of time that is not the one that never comes. */
    private static long nonZero(long until) {
        return until == 0 ? 1 : until;
    }

    /** At least the millisecond that a time-out must have. */
    private static int millisTo(long until) throws SocketTimeoutException {
        long left = until - System.nanoTime();
        if (left <= 0) {
            throw new SocketTimeoutException("not in time");
        }
        return (int) Math.min(Math.max(left / 1_000_000, 1), Integer.MAX_VALUE);
    }

    private static void close(Socket socket) {
        try {
            socket.close();
        } catch (IOException nothing) {
            // It is of no use any more either way.
        }
    }

    static void start(String name, Runnable runs) {
        Thread thread = new Thread(runs, name);
        thread.setDaemon(true);
        thread.start();
    }
}
