package catraca;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.ForkJoinPool;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/**
 * What is unanswered, and the promise about it: each request gets its answer, over as many connections as that takes, or is given
 * up when its time is over. One thread owns all of it, and runs what the others post.
 */
final class Exchange extends Recovery implements Runnable {
    /** How long after a transaction's budget its answer is waited for: the way to the server and back. */
    static final long GRACE_NS = 500_000_000;
    /** A wait that takes nothing from a budget worth telling the server. */
    private static final long UNNOTICED_NS = 1_000_000;
    private static final long BEGAN = System.nanoTime();

    /** A request that has not ended. Times are of {@link Exchange#clock}. */
    static final class Entry {
        final int kind;
        byte[] body;
        final long deadline;
        /** When its budget is over; Long.MAX_VALUE where it has none. */
        final long budgetEnd;
        final long budgetNs;
        final CompletableFuture<Object> outcome = new CompletableFuture<>();
        long correlation;
        /** It went out on the connection in use; and how often on any. */
        boolean sent;
        int sendings;
        /** The caller does not wait any more. It keeps its place until it is answered, because the server counts it. */
        boolean abandoned;
        /** Of a token: what connections begin with once it is accepted. */
        byte[] greeting;

        Entry(int kind, byte[] body, long deadline, long budgetEnd, long budgetNs) {
            this.kind = kind;
            this.body = body;
            this.deadline = deadline;
            this.budgetEnd = budgetEnd;
            this.budgetNs = budgetNs;
        }

        /** When it ends without an answer. What can't be sent has no answer to wait for. */
        long due() {
            return sent ? deadline : Math.min(deadline, budgetEnd);
        }
    }

    /** Where callers are told, so that what they do then keeps nobody waiting. */
    private final Executor callbacks = ForkJoinPool.commonPool();
    private final LinkedBlockingQueue<Runnable> events = new LinkedBlockingQueue<>();
    /** By correlation, in the order in which they came. */
    private final Map<Long, Entry> unanswered = new LinkedHashMap<>();
    /** To be sent on this connection, oldest first; some may have ended. */
    private final Deque<Entry> unsent = new ArrayDeque<>();
    final CompletableFuture<Void> first = new CompletableFuture<>();
    private final Object ending = new Object();
    private boolean takesNoMore;
    private int carried;
    /**
     * The AUTH that this connection has not answered, given up or not; null where there is none. A server takes no second one
     * before that.
     */
    private Entry auth;
    /** No request is due before this. Saves looking through all at each answer. */
    private long earliest = Long.MAX_VALUE;
    private long nextCorrelation = 1;

    Exchange(Options options, byte[] hello) {
        super(options, hello);
        firstIsWanted = !options.lazy;
    }

    static long clock() {
        return System.nanoTime() - BEGAN;
    }

    @Override
    long now() {
        return clock();
    }

    @Override
    boolean post(Runnable event) {
        synchronized (ending) {
            return !takesNoMore && events.add(event);
        }
    }

    @Override
    public void run() {
        while (!isEnded) {
            try {
                long wakeAt = Math.min(earliest, actsAt());
                Runnable event = events.poll(wakeAt == Long.MAX_VALUE ? wakeAt : wakeAt - now(), TimeUnit.NANOSECONDS);
                // What has come counts, however late it is looked at: before any deadline does.
                for (int more = events.size(); event != null; event = more-- > 0 ? events.poll() : null) {
                    event.run();
                }
            } catch (InterruptedException nobodyDoes) {
                end();
            }
            long now = now();
            endExpired(now);
            connectIfWanted(now);
            sendUnsent(now);
            lookElsewhere(now);
        }
        synchronized (ending) {
            takesNoMore = true;
        }
        // They see that it has ended.
        events.forEach(Runnable::run);
    }

    /** Gives up everything, and stops. */
    void end() {
        isEnded = true;
        for (Entry entry : List.copyOf(unanswered.values())) {
            finish(entry, null, entry.sendings > 0 ? new CatracaException.NoAnswer("the client was closed") : closed());
        }
        if (connection != null) {
            connection.close();
            connection = null;
        }
        tellFirst(closed());
    }

    static CatracaException closed() {
        return new CatracaException.NotSent("the client is closed", false);
    }

    void add(Entry entry) {
        if (isEnded || unanswered.size() >= Client.MAX_UNANSWERED) {
            CatracaException why = isEnded ? closed() : new CatracaException.NotSent("too many requests wait already", false);
            callbacks.execute(() -> entry.outcome.completeExceptionally(why));
            return;
        }
        entry.correlation = nextCorrelation++;
        unanswered.put(entry.correlation, entry);
        unsent.add(entry);
        earliest = Math.min(earliest, entry.due());
    }

    /** Takes a token; connections begin with it once a server has taken it. */
    void renew(Entry entry, byte[] greeting) {
        entry.greeting = greeting;
        newer = greeting;
        add(entry);
    }

    void abandon(Entry entry) {
        entry.abandoned = true;
        if (!entry.sent) {
            unanswered.remove(entry.correlation, entry);
        }
    }

    @Override
    boolean isOwed() {
        return !unanswered.isEmpty();
    }

    @Override
    int carried() {
        return carried;
    }

    @Override
    void sendAllAgain() {
        carried = 0;
        auth = null;
        unsent.clear();
        for (Iterator<Entry> entries = unanswered.values().iterator(); entries.hasNext(); ) {
            Entry entry = entries.next();
            if (entry.abandoned) {
                entries.remove();
                continue;
            }
            entry.sent = false;
            unsent.add(entry);
            earliest = Math.min(earliest, entry.due());
        }
    }

    @Override
    void giveUp(CatracaException error) {
        for (Entry entry : List.copyOf(unanswered.values())) {
            finish(entry, null, entry.sendings > 0 ? new CatracaException.NoAnswer(error.getMessage()) : error);
        }
    }

    @Override
    void tellFirst(CatracaException error) {
        firstIsWanted = false;
        if (error == null) {
            first.complete(null);
        } else {
            first.completeExceptionally(error);
        }
    }

    private long limit() {
        long limit = Math.min(welcome.inFlight(), Client.MAX_IN_FLIGHT);
        return options.inFlight == 0 ? limit : Math.min(limit, options.inFlight);
    }

    /** Sends what this connection has not carried yet, as far as its limit allows. */
    private void sendUnsent(long now) {
        Deque<Entry> heldBack = new ArrayDeque<>();
        while (connection != null && !unsent.isEmpty() && carried < limit()) {
            Entry entry = unsent.poll();
            if (unanswered.get(entry.correlation) != entry) {
                continue;
            }
            if (entry.kind == Requests.AUTH && auth != null) {
                heldBack.push(entry);
                continue;
            }
            if (entry.budgetEnd != Long.MAX_VALUE) {
                long left = entry.budgetEnd - now;
                if (left < 1_000) {
                    // Sent now it could be decided after its budget: it is over.
                    expire(entry);
                    continue;
                }
                // One that was sent before, or waited, has less than it began with.
                if (entry.sendings > 0 || left < entry.budgetNs - UNNOTICED_NS) {
                    entry.body = Requests.withBudget(entry.body, left / 1_000);
                }
            }
            entry.sent = true;
            entry.sendings++;
            if (entry.kind == Requests.AUTH) {
                // Not counted: it may wait for somebody else, the issuer, and says nothing of the node.
                auth = entry;
            } else {
                if (carried == 0) {
                    quietSince = now;
                }
                carried++;
            }
            byte[] frames = entry.kind == Requests.AUTH ? Requests.tokenFrames(entry.body, entry.correlation)
                    : Requests.frame(entry.kind, entry.correlation, entry.body);
            if (!connection.send(frames)) {
                lose(new CatracaException.BrokenProtocol("it answered what it had not read"));
                return;
            }
        }
        heldBack.forEach(unsent::addFirst);
    }

    /** Ends what is due. What went out and got nothing says that the connection is dead, although nobody told us; but for AUTH. */
    private void endExpired(long now) {
        if (now < earliest) {
            return;
        }
        List<Entry> expired = new ArrayList<>(unanswered.values());
        expired.removeIf(entry -> now < entry.due());
        boolean dead = expired.stream().anyMatch(entry -> entry.sent && entry.kind != Requests.AUTH);
        expired.forEach(this::expire);
        if (dead && connection != null) {
            lose(new CatracaException.NoAnswer("the server did not answer in time"));
        }
        earliest = unanswered.values().stream().mapToLong(Entry::due).min().orElse(Long.MAX_VALUE);
    }

    private void expire(Entry entry) {
        String said = route.noPrimary();
        String why = !said.isEmpty() ? said : lastFailure.isEmpty() ? "the time for it is over" : lastFailure;
        finish(entry, null, entry.sendings > 0 ? new CatracaException.NoAnswer(why)
                : new CatracaException.NotSent("not sent: " + why, !said.isEmpty()));
    }

    private void finish(Entry entry, Object answer, CatracaException error) {
        unanswered.remove(entry.correlation);
        if (entry.sent && entry.kind != Requests.AUTH) {
            carried--;
        }
        callbacks.execute(() -> {
            if (error == null) {
                entry.outcome.complete(answer);
            } else {
                entry.outcome.completeExceptionally(error);
            }
        });
    }

    @Override
    void accept(long correlation, Object answer) {
        Entry entry = unanswered.get(correlation);
        CatracaException.Refused refused = answer instanceof CatracaException.Refused error ? error : null;
        if (entry == null && refused != null && refused.closing) {
            throw refused;
        }
        boolean isOfAuth = auth != null && auth.correlation == correlation && (refused != null || answers(Requests.AUTH, answer));
        if (entry == null && isOfAuth) {
            // It was given up, and its answer is late.
            renewed(answer);
            return;
        }
        if (entry == null || !entry.sent || refused == null && !answers(entry.kind, answer)) {
            throw new CatracaException.BrokenProtocol("it answered with what nothing asked for");
        }
        if (refused != null && goesElsewhere(refused.code)) {
            // Not answered yet: it goes to another node with the others.
            throw refused;
        }
        failures = 0;
        lastFailure = "";
        if (entry.kind == Requests.AUTH) {
            renewed(answer);
        }
        if (refused == null) {
            finish(entry, answer, null);
            return;
        }
        doubtful |= refused.code == ErrorCode.UNCONFIRMED;
        finish(entry, null, entry.sendings > 1 ? refused.afterDoubt() : refused);
        if (refused.closing) {
            throw refused;
        }
    }

    /** Takes the answer to AUTH. Where the server could not check the newer token, that may be good. */
    private void renewed(Object answer) {
        byte[] greeting = auth.greeting;
        auth = null;
        if (answer instanceof Replies.AuthState state) {
            hello = greeting;
            expiresAtNs = state.expiresAtNs();
        } else if (answer instanceof CatracaException.Refused refused && refused.code != ErrorCode.UNAUTHENTICATED
                && refused.code != ErrorCode.FORBIDDEN) {
            return;
        }
        if (newer == greeting) {
            newer = null;
        }
    }

    private static boolean answers(int kind, Object answer) {
        return switch (kind) {
            case Requests.SUBMIT -> answer instanceof Decision;
            case Requests.LOOKUP -> answer instanceof StoredDecision;
            case Requests.PING -> answer instanceof Long;
            case Requests.AUTH -> answer instanceof Replies.AuthState;
            default -> answer instanceof ClusterState;
        };
    }
}
