package catraca;

import java.time.Duration;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;

/**
 * A connection to the node that decides, kept alive over failures. It is for any number of threads at once: their requests travel
 * together, and each gets its answer. When the connection is lost, or another node has become the primary, the client connects
 * again and sends again what is unanswered, which is safe: the server gives the same transaction the same decision.
 *
 * <p>Futures fail with a {@link CatracaException}; a method that waits throws it. Cancelling a future ends the waiting, and takes
 * nothing back: the transaction may be decided.
 */
public final class Client implements AutoCloseable {
    /** Frames unanswered on a connection at most, whatever the server would allow. */
    public static final int MAX_IN_FLIGHT = 65_536;
    /** Requests that wait at most, those included that have not been sent: bounds the memory. */
    public static final int MAX_UNANSWERED = 2 * MAX_IN_FLIGHT;

    private final Exchange exchange;

    /**
     * Connects to the first address whose node takes it, trying each; a lazy one leaves that to the first request.
     *
     * @throws CatracaException where there is none
     */
    public Client(Options options) {
        exchange = new Exchange(options, Requests.greeting(options.credential, options.name, options.inFlight, 0));
        Connection.start("catraca", exchange);
        if (!options.lazy) {
            try {
                join(exchange.first);
            } catch (CatracaException failed) {
                close();
                throw failed;
            }
        }
    }

    /**
     * The decision on a transaction, within its budget and half a second. Sends again after OVERLOADED and RATE_LIMITED as long
     * as the budget lasts, and over a lost connection or another node.
     *
     * @throws CatracaException which tells whether there may be a decision all the same; it is never an approval
     */
    public Decision decide(Transaction transaction) {
        return join(decideAsync(transaction));
    }

    /** As {@link #decide}, without waiting. What the server would refuse is thrown at once. */
    public CompletableFuture<Decision> decideAsync(Transaction transaction) {
        byte[] body = Requests.submit(transaction);
        CompletableFuture<Decision> decided = new CompletableFuture<>();
        decide(decided, body, budgetNs(transaction), Exchange.clock() + budgetNs(transaction), 0);
        return decided;
    }

    /** Sends a transaction once: also OVERLOADED and RATE_LIMITED are told. What the server would refuse is thrown at once. */
    public CompletableFuture<Decision> submit(Transaction transaction) {
        byte[] body = Requests.submit(transaction);
        long budgetNs = budgetNs(transaction);
        return ask(submission(body, budgetNs, Exchange.clock() + budgetNs), Decision.class);
    }

    /** The stored decision on a transaction; payer is empty, or says whose where ids may repeat between payers. */
    public CompletableFuture<StoredDecision> lookupAsync(String id, String payer) {
        return ask(request(Requests.LOOKUP, Requests.lookup(id, payer)), StoredDecision.class);
    }

    /** As {@link #lookupAsync}, waiting; {@link CatracaException.Refused} with NOT_FOUND where there is none. */
    public StoredDecision lookup(String id, String payer) {
        return join(lookupAsync(id, payer));
    }

    /** The server's clock, nanoseconds since 1970 UTC. */
    public long ping() {
        return join(ask(request(Requests.PING, new byte[8]), Long.class));
    }

    /** The node's part in its cluster. */
    public ClusterState cluster() {
        return join(ask(request(Requests.CLUSTER, Requests.describe()), ClusterState.class));
    }

    /**
     * Goes on with a newer token of the same client, on the connection in use and on all that come. Whatever is unanswered stays
     * so. Until when it counts, nanoseconds since 1970 UTC; empty for no end.
     *
     * @throws CatracaException.Refused UNAUTHENTICATED, FORBIDDEN (of another client) or OVERLOADED (it can't be checked now): the
     *     one before counts until its end. So it does after {@link CatracaException.NoAnswer}, and connections come with it until a
     *     server has taken the newer one. Renewals wait for each other
     */
    public OptionalLong renew(String token) {
        Exchange.Entry entry = request(Requests.AUTH, Requests.token(token));
        byte[] greeting = Requests.greeting(token, exchange.options.name, exchange.options.inFlight, 0);
        return end(join(ask(entry, Replies.AuthState.class, () -> exchange.renew(entry, greeting))).expiresAtNs());
    }

    /**
     * Until when the token of the connection in use counts, nanoseconds since 1970 UTC: then the server closes it, unless
     * {@link #renew} was called before. Empty for a credential without an end, and without a connection.
     */
    public OptionalLong tokenExpiresAtNs() {
        return end(exchange.expiresAtNs);
    }

    private static OptionalLong end(long expiresAtNs) {
        return expiresAtNs == 0 ? OptionalLong.empty() : OptionalLong.of(expiresAtNs);
    }

    /** What the server said of itself on the latest connection; empty where there was none. */
    public Optional<Welcome> welcome() {
        return Optional.ofNullable(exchange.welcome);
    }

    /** Ends the client at once. Answers that are owed are lost, and those who wait are told so; decisions are not lost. */
    @Override
    public void close() {
        exchange.post(exchange::end);
    }

    private void decide(CompletableFuture<Decision> decided, byte[] body, long budgetNs, long budgetEnd, int sendings) {
        if (decided.isDone()) {
            return;
        }
        Exchange.Entry entry = submission(body, budgetNs, budgetEnd);
        entry.sendings = sendings;
        CompletableFuture<Decision> asked = ask(entry, Decision.class);
        decided.whenComplete((decision, error) -> {
            if (decided.isCancelled()) {
                asked.cancel(false);
            }
        });
        asked.whenComplete((decision, error) -> {
            if (error == null) {
                decided.complete(decision);
                return;
            }
            if (decided.isDone()) {
                return;
            }
            if (error instanceof CatracaException.Refused refused && isToBeSentAgain(refused.code)) {
                long pauseNs = Math.max(refused.retryAfter.toNanos(), 1_000_000);
                if (budgetEnd - Exchange.clock() > pauseNs) {
                    // One of them that got no answer stays in doubt.
                    int doubts = refused.recorded() == Recorded.PERHAPS ? 1 : 0;
                    CompletableFuture.delayedExecutor(pauseNs, TimeUnit.NANOSECONDS)
                            .execute(() -> decide(decided, body, budgetNs, budgetEnd, doubts));
                    return;
                }
            }
            decided.completeExceptionally(error);
        });
    }

    private static boolean isToBeSentAgain(ErrorCode code) {
        return code == ErrorCode.OVERLOADED || code == ErrorCode.RATE_LIMITED;
    }

    private static long budgetNs(Transaction transaction) {
        Duration budget = transaction.budget();
        return (budget.isZero() ? Transaction.MAX_BUDGET : budget).toNanos();
    }

    private Exchange.Entry submission(byte[] body, long budgetNs, long budgetEnd) {
        long deadline = Math.min(Exchange.clock() + exchange.options.answerTimeoutNs, budgetEnd + Exchange.GRACE_NS);
        return new Exchange.Entry(Requests.SUBMIT, body, deadline, budgetEnd, budgetNs);
    }

    private Exchange.Entry request(int kind, byte[] body) {
        return new Exchange.Entry(kind, body, Exchange.clock() + exchange.options.answerTimeoutNs, Long.MAX_VALUE, 0);
    }

    private <T> CompletableFuture<T> ask(Exchange.Entry entry, Class<T> answeredBy) {
        return ask(entry, answeredBy, () -> exchange.add(entry));
    }

    private <T> CompletableFuture<T> ask(Exchange.Entry entry, Class<T> answeredBy, Runnable begins) {
        CompletableFuture<T> told = new CompletableFuture<>();
        // Not a dependent of it, whose failures would come wrapped.
        entry.outcome.whenComplete((answer, error) -> {
            if (error == null) {
                told.complete(answeredBy.cast(answer));
            } else {
                told.completeExceptionally(error);
            }
        });
        told.whenComplete((answer, error) -> {
            if (told.isCancelled()) {
                exchange.post(() -> exchange.abandon(entry));
            }
        });
        if (!exchange.post(begins)) {
            told.completeExceptionally(Exchange.closed());
        }
        return told;
    }

    private static <T> T join(CompletableFuture<T> future) {
        try {
            return future.join();
        } catch (CompletionException | CancellationException failed) {
            if (failed.getCause() instanceof CatracaException known) {
                throw known;
            }
            throw failed;
        }
    }
}
