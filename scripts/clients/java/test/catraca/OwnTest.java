package catraca;

import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.UnaryOperator;

/** What is Java's own: futures, threads, closing. Run with -ea; ends with a status other than 0 where something fails. */
final class OwnTest {
    private static final long FOR_EVER_S = 120;

    public static void main(String[] arguments) throws Exception {
        manyThreadsShareAClient();
        aCancelledFutureTakesNothingFromTheOthers();
        renewalsOfManyThreadsWaitForEachOther();
        closingTellsThoseWhoWait();
        whatCanNotWorkIsThrownAtOnceAndTheCredentialNotShown();
        learnedAddressesAreFewAndTheConfiguredOnesStay();
        pausesDoubleWithinBounds();
    }

    /** A node that gives each SUBMIT to `answer`, which says what to send back; nothing where that is null. */
    private static String serve(int inFlight, UnaryOperator<byte[]> answer) throws IOException {
        ServerSocket listener = new ServerSocket(0);
        Connection.start("fake node", () -> {
            while (true) {
                try (Socket socket = listener.accept()) {
                    DataInputStream input = new DataInputStream(socket.getInputStream());
                    input.readNBytes(128);
                    ByteBuffer body = Requests.buffer(112).put(0, (byte) 1).put(1, (byte) 1).put(2, (byte) 1).put(40, (byte) 1);
                    body.putInt(44, 512).putInt(48, inFlight);
                    socket.getOutputStream().write(Requests.frame(2, 0, body.array()));
                    while (true) {
                        byte[] raw = new byte[192];
                        input.readFully(raw);
                        byte[] reply = answer.apply(raw);
                        if (reply != null) {
                            socket.getOutputStream().write(reply);
                        }
                    }
                } catch (EOFException gone) {
                    // The next one.
                } catch (IOException gone) {
                    return;
                }
            }
        });
        return "127.0.0.1:" + listener.getLocalPort();
    }

    /** Its lsn is the amount. */
    private static byte[] approval(byte[] raw) {
        ByteBuffer body = Requests.buffer(48).put(0, (byte) 1).putLong(30, Requests.buffer(raw).getLong(76));
        return Requests.frame(4, Requests.buffer(raw).getLong(8), body.array());
    }

    private static Transaction payment(long amount) {
        return Transaction.builder("order-" + amount, "049.332.286-80", "12.ABC.345/01DE-35", amount).build();
    }

    private static void manyThreadsShareAClient() throws Exception {
        try (Client client = new Client(Options.of(serve(7, OwnTest::approval)))) {
            List<Thread> threads = new ArrayList<>();
            List<String> wrong = java.util.Collections.synchronizedList(new ArrayList<>());
            for (int first = 1; first <= 8; first++) {
                long from = first * 1_000L;
                Thread thread = new Thread(() -> {
                    for (long amount = from; amount < from + 50; amount++) {
                        long lsn = client.decide(payment(amount)).lsn();
                        if (lsn != amount) {
                            wrong.add(amount + " has the answer of " + lsn);
                        }
                    }
                });
                thread.start();
                threads.add(thread);
            }
            for (Thread thread : threads) {
                thread.join();
            }
            assert wrong.isEmpty() : wrong;
        }
    }

    private static void aCancelledFutureTakesNothingFromTheOthers() throws Exception {
        CountDownLatch asked = new CountDownLatch(1);
        CountDownLatch cancelled = new CountDownLatch(1);
        String address = serve(7, raw -> {
            if (raw[76] == 1) {
                asked.countDown();
                await(cancelled);
            }
            return approval(raw);
        });
        try (Client client = new Client(Options.of(address))) {
            CompletableFuture<Decision> first = client.decideAsync(payment(1));
            await(asked);
            first.cancel(true);
            cancelled.countDown();
            assert client.decide(payment(2)).lsn() == 2;
        }
    }

    private static void renewalsOfManyThreadsWaitForEachOther() throws Exception {
        int renewals = 5;
        List<Boolean> early = java.util.Collections.synchronizedList(new ArrayList<>());
        ServerSocket listener = new ServerSocket(0);
        Connection.start("fake node", () -> {
            try (Socket socket = listener.accept()) {
                DataInputStream input = new DataInputStream(socket.getInputStream());
                input.readNBytes(128);
                ByteBuffer body = Requests.buffer(112).put(0, (byte) 1).put(1, (byte) 1).put(2, (byte) 1).put(40, (byte) 1);
                body.putInt(44, 512).putInt(48, 7);
                socket.getOutputStream().write(Requests.frame(2, 0, body.array()));
                for (int number = 0; number < renewals; number++) {
                    byte[] raw = new byte[512];
                    input.readFully(raw);
                    // A second one would be here before this one is answered.
                    Thread.sleep(50);
                    early.add(input.available() > 0);
                    socket.getOutputStream().write(Requests.frame(27, Requests.buffer(raw).getLong(8), new byte[16]));
                }
                input.read();
            } catch (IOException | InterruptedException gone) {
                // The test says what is missing.
            }
        });
        Options options = Options.of("127.0.0.1:" + listener.getLocalPort()).answerTimeout(Duration.ofMinutes(1));
        try (Client client = new Client(options)) {
            List<CompletableFuture<Void>> all = new ArrayList<>();
            for (int number = 0; number < renewals; number++) {
                CompletableFuture<Void> renewed = new CompletableFuture<>();
                all.add(renewed);
                new Thread(() -> {
                    try {
                        client.renew("token");
                        renewed.complete(null);
                    } catch (RuntimeException failed) {
                        renewed.completeExceptionally(failed);
                    }
                }).start();
            }
            for (CompletableFuture<Void> renewed : all) {
                renewed.get(FOR_EVER_S, TimeUnit.SECONDS);
            }
        }
        assert early.equals(java.util.Collections.nCopies(renewals, false)) : early;
    }

    private static void closingTellsThoseWhoWait() throws Exception {
        CountDownLatch asked = new CountDownLatch(1);
        String address = serve(7, raw -> {
            asked.countDown();
            return null;
        });
        Client client = new Client(Options.of(address));
        CompletableFuture<Decision> waits = client.submit(payment(1));
        await(asked);
        client.close();
        client.close();
        try {
            waits.get(FOR_EVER_S, TimeUnit.SECONDS);
            throw new AssertionError("an answer from nobody");
        } catch (java.util.concurrent.ExecutionException failed) {
            assert failed.getCause() instanceof CatracaException.NoAnswer : failed;
        }
        try {
            client.submit(payment(2)).join();
            throw new AssertionError("an answer from nobody");
        } catch (CompletionException failed) {
            assert failed.getCause() instanceof CatracaException.NotSent : failed;
        }
    }

    private static void whatCanNotWorkIsThrownAtOnceAndTheCredentialNotShown() {
        List<Runnable> wrong = List.of(() -> Options.of(), () -> Options.of("a:1", "a:1"), () -> Options.of("::1:7400"),
                () -> Options.of("a:1").inFlight(Client.MAX_IN_FLIGHT + 1),
                () -> Options.of("a:1").connectTimeout(Duration.ZERO));
        for (Runnable one : wrong) {
            try {
                one.run();
                throw new AssertionError("taken");
            } catch (CatracaException.WrongField refused) {
                assert refused.recorded() == Recorded.NO;
            }
        }
        assert !Options.of("a:1").credential("sesame").toString().contains("sesame");
    }

    private static void learnedAddressesAreFewAndTheConfiguredOnesStay() {
        Route route = new Route(List.of("a:1"), true);
        for (int number = 1; number <= 50; number++) {
            route.beginRound();
            assert route.standby("x:" + number) && route.address().equals("x:" + number);
        }
        assert route.size() == 1 + Route.MAX_LEARNED;
        assert route.others().equals(List.of("a:1", "x:47", "x:48", "x:49")) : route.others();
    }

    private static void pausesDoubleWithinBounds() {
        Options options = Options.of("a:1");
        for (int failures = 0; failures < 200; failures++) {
            long whole = failures < 2 ? 0 : failures < 8 ? 50_000_000L << (failures - 2) : 2_000_000_000L;
            long pause = Recovery.pauseNs(options, failures);
            assert pause >= whole / 2 && pause <= whole : failures + ": " + pause;
        }
    }

    private static void await(CountDownLatch latch) {
        try {
            assert latch.await(FOR_EVER_S, TimeUnit.SECONDS) : "nothing came";
        } catch (InterruptedException nobodyDoes) {
            throw new AssertionError(nobodyDoes);
        }
    }
}
