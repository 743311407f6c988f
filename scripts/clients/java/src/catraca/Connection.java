package catraca;

import java.io.BufferedInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.function.BiConsumer;

/**
 * One TCP connection past its handshake. One thread reads it and another one writes, so that a server that waits for its answers
 * to be read never waits for us.
 */
final class Connection {
    final Welcome welcome;
    private final Socket socket;
    private final InputStream input;
    /** Frames to write. It has room for all that may be unanswered. */
    private final BlockingQueue<byte[]> output;
    private volatile Thread writer;

    private Connection(Socket socket, InputStream input, Welcome welcome) {
        this.socket = socket;
        this.input = input;
        this.welcome = welcome;
        output = new ArrayBlockingQueue<>((int) Math.min(welcome.inFlight(), Client.MAX_IN_FLIGHT) + 1);
    }

    /** Connects and shakes hands, all in this time (but for the name's resolution). Refused, or NotSent for whatever else. */
    static Connection open(String address, byte[] hello, long withinNs) {
        int colon = address.lastIndexOf(':');
        String host = address.substring(0, colon).replaceAll("^\\[|]$", "");
        Socket socket = new Socket();
        try {
            InetSocketAddress place = new InetSocketAddress(host, Integer.parseInt(address.substring(colon + 1)));
            long until = System.nanoTime() + withinNs;
            socket.connect(place, millisTo(until));
            socket.setTcpNoDelay(true);
            socket.getOutputStream().write(Requests.frame(Requests.HELLO, 0, hello));
            InputStream input = new BufferedInputStream(socket.getInputStream(), 1 << 16);
            Replies.Reply reply = next(socket, input, until);
            if (reply.correlation() == 0 && reply.answer() instanceof Welcome welcome) {
                socket.setSoTimeout(0);
                return new Connection(socket, input, welcome);
            }
            if (reply.correlation() == 0 && reply.answer() instanceof CatracaException.Refused refused) {
                throw refused;
            }
            throw new CatracaException.BrokenProtocol("no WELCOME came");
        } catch (CatracaException.Refused refused) {
            close(socket);
            throw refused;
        } catch (IOException | RuntimeException failed) {
            close(socket);
            throw new CatracaException.NotSent(String.valueOf(failed.getMessage()), false);
        }
    }

    /** Reads in a thread of its own: each reply, or at last why there are no more, with null for the reply. */
    void read(BiConsumer<Replies.Reply, Exception> received) {
        start("catraca-writer", this::write);
        start("catraca-reader", () -> {
            try {
                while (true) {
                    received.accept(next(socket, input, 0), null);
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
        try {
            while (!socket.isClosed()) {
                socket.getOutputStream().write(output.take());
            }
        } catch (IOException | InterruptedException ended) {
            // The reader tells.
            close(socket);
        }
    }

    /** The next reply; its length and kind are checked before anything is made of it. `until` 0 waits for ever. */
    private static Replies.Reply next(Socket socket, InputStream input, long until) throws IOException {
        byte[] header = new byte[Requests.HEADER_LEN];
        fill(socket, input, header, 0, until);
        byte[] raw = java.util.Arrays.copyOf(header, Replies.length(header));
        fill(socket, input, raw, Requests.HEADER_LEN, until);
        return Replies.decode(raw);
    }

    private static void fill(Socket socket, InputStream input, byte[] raw, int from, long until) throws IOException {
        for (int at = from; at < raw.length; ) {
            if (until != 0) {
                socket.setSoTimeout(millisTo(until));
            }
            int count = input.read(raw, at, raw.length - at);
            if (count < 0) {
                throw new EOFException("the server closed the connection");
            }
            at += count;
        }
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
