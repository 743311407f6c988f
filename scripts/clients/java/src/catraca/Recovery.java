package catraca;

import java.util.concurrent.ThreadLocalRandom;

/** What of the exchange finds the next connection: attempts, rounds and pauses, and the look at whether another node decides. */
abstract class Recovery {
    /** Servers that name another one as the primary, followed without a pause: more of them lead nowhere. */
    private static final int MAX_HOPS = 4;
    /** Doublings of a wait past which it is as long as it gets. */
    private static final int MAX_DOUBLINGS = 16;

    final Options options;
    final Route route;
    /** What connections begin with: of the newest credential. */
    byte[] hello;
    /** The same of a newer one that no server has taken or refused; null where there is none. */
    byte[] newer;
    /** The connection in use, or null. */
    Connection connection;
    /** What the server said on the latest connection; null before there was one. */
    volatile Welcome welcome;
    /** Until when the token of the connection in use counts, nanoseconds since 1970 UTC; 0 for no end. */
    volatile long expiresAtNs;
    /** Rounds in vain and connections lost, since the last answer; and why. */
    int failures;
    String lastFailure = "";
    /** Somebody waits for the first connection. */
    boolean firstIsWanted;
    boolean isEnded;
    /** The node in use could not confirm something: it may have been replaced without knowing it. */
    boolean doubtful;
    /** When the node in use last said something, or began to owe an answer. */
    long quietSince;
    private int hops;
    private boolean connecting;
    private long notBefore;
    private long nextLook;
    /** Answers to an earlier round of looks count for nothing. */
    private int lookRound;

    Recovery(Options options, byte[] hello) {
        this.options = options;
        this.hello = hello;
        route = new Route(options.addresses, options.tls == null);
    }

    /** Has the thread that owns all of this run something; false where it has stopped. */
    abstract boolean post(Runnable event);

    /** Whether anything is unanswered, and how much went out on this connection. */
    abstract boolean isOwed();

    abstract int carried();

    /** Everything unanswered is to be sent over the next connection. */
    abstract void sendAllAgain();

    /** No attempt can change this: everything unanswered ends. */
    abstract void giveUp(CatracaException error);

    /** How the first round of attempts ended; null where there is a connection. */
    abstract void tellFirst(CatracaException error);

    /** Matches an answer with its request; throws what says that the connection is of no use any more. */
    abstract void accept(long correlation, Object answer);

    /** Since some fixed time, nanoseconds. */
    abstract long now();

    /** When an attempt, or a look, is to begin; Long.MAX_VALUE where none is. */
    final long actsAt() {
        long attempt = isWanted() && !connecting ? notBefore : Long.MAX_VALUE;
        return Math.min(attempt, looksAt());
    }

    private boolean isWanted() {
        return connection == null && !isEnded && (firstIsWanted || isOwed());
    }

    /** Begins an attempt at the next address, when its time has come. */
    final void connectIfWanted(long now) {
        if (!isWanted() || connecting || now < notBefore) {
            return;
        }
        if (route.isExhausted()) {
            route.beginRound();
            hops = 0;
        }
        connecting = true;
        String address = route.address();
        long withinNs = patienceNs();
        byte[] greeting = hello;
        Connection.start("catraca-connect", () -> {
            try {
                Connection made = Connection.open(address, greeting, options.tls, withinNs);
                if (!post(() -> connected(made))) {
                    made.close();
                }
            } catch (CatracaException failed) {
                post(() -> attemptFailed(failed));
            }
        });
    }

    /**
     * Within a request's time one address that hangs must not use up what another one could answer in. Where none answered so
     * soon, all get longer.
     */
    private long patienceNs() {
        if (route.size() == 1 || !isOwed()) {
            return options.connectTimeoutNs;
        }
        return Math.min(options.silenceNs << Math.min(failures, MAX_DOUBLINGS), options.connectTimeoutNs);
    }

    /** The old credential has come to its end, and there is a newer one. */
    private boolean turnsToNewer(Exception error) {
        boolean ended = error instanceof CatracaException.Refused refused && refused.code == ErrorCode.UNAUTHENTICATED;
        if (!ended || newer == null) {
            return false;
        }
        hello = newer;
        newer = null;
        return true;
    }

    private void attemptFailed(CatracaException failed) {
        connecting = false;
        if (turnsToNewer(failed)) {
            return;
        }
        lastFailure = "no connection to " + route.address() + ": " + failed.getMessage();
        route.failed("failed: " + failed.getMessage());
        if (failed instanceof CatracaException.Refused refused && refused.isFinal()) {
            failures = 1;
            route.beginRound();
            giveUp(failed);
            tellFirst(failed);
        } else if (route.isExhausted()) {
            endRound(failed);
        }
    }

    private void connected(Connection made) {
        connecting = false;
        if (isEnded) {
            made.close();
        } else if (made.welcome.primary() || options.anyRole) {
            route.found();
            adopt(made);
        } else {
            made.close();
            boolean named = route.standby(made.welcome.primaryAddress());
            if (named && hops < MAX_HOPS) {
                hops++;
            } else if (hops >= MAX_HOPS || route.isExhausted()) {
                endRound(new CatracaException.NotSent(route.noPrimary(), true));
            }
        }
    }

    /** All addresses were tried in vain: a pause. */
    private void endRound(CatracaException error) {
        failures++;
        notBefore = now() + pauseNs(options, failures);
        route.beginRound();
        hops = 0;
        String said = route.noPrimary();
        tellFirst(said.isEmpty() ? error : new CatracaException.NotSent(said, true));
    }

    /** None after the first failure, then doubling; half of it chance, so that not all clients arrive at once. */
    static long pauseNs(Options options, int failures) {
        if (failures < 2) {
            return 0;
        }
        long whole = Math.min(options.reconnectBaseNs << Math.min(failures - 2, MAX_DOUBLINGS), options.reconnectMaxNs);
        return whole / 2 + ThreadLocalRandom.current().nextLong(whole / 2 + 1);
    }

    /** Uses a connection from now on. */
    private void adopt(Connection made) {
        connection = made;
        welcome = made.welcome;
        expiresAtNs = made.expiresAtNs;
        hops = 0;
        quietSince = now();
        sendAllAgain();
        tellFirst(null);
        made.read((reply, failed) -> post(() -> {
            if (connection != made) {
                return;
            }
            if (failed != null) {
                lose(failed);
                return;
            }
            quietSince = now();
            try {
                accept(reply.correlation(), reply.answer());
            } catch (CatracaException leaves) {
                lose(leaves);
            }
        }));
    }

    /** A node that is no primary may name the one that is, so one address is enough then. */
    final boolean goesElsewhere(ErrorCode code) {
        return !options.anyRole && (code == ErrorCode.NOT_PRIMARY || code == ErrorCode.SHUTTING_DOWN && route.size() > 1);
    }

    /** Leaves the connection. What is unanswered waits for the next one. */
    final void lose(Exception error) {
        turnsToNewer(error);
        route.beginRound();
        if (error instanceof CatracaException.Refused refused && refused.code == ErrorCode.NOT_PRIMARY) {
            route.standby("");
        } else {
            route.failed("failed: " + error.getMessage());
        }
        failures++;
        lastFailure = String.valueOf(error.getMessage());
        notBefore = now() + pauseNs(options, failures);
        detach();
    }

    private void detach() {
        connection.close();
        connection = null;
        expiresAtNs = 0;
        doubtful = false;
        lookRound++;
        sendAllAgain();
    }

    /** When it is to be looked whether another address is a primary too. */
    private long looksAt() {
        if (connection == null || options.anyRole || route.size() < 2 || !doubtful && carried() == 0) {
            return Long.MAX_VALUE;
        }
        return doubtful ? nextLook : Math.max(nextLook, quietSince + options.silenceNs);
    }

    /**
     * Asks the other addresses, beside the waiting: after UNCONFIRMED, because a primary that is cut off from its standby does
     * not hear of that one's promotion, and while nothing comes. One that is a primary as well gets everything unanswered.
     */
    final void lookElsewhere(long now) {
        if (now < looksAt()) {
            return;
        }
        int round = ++lookRound;
        doubtful = false;
        nextLook = now + options.lookEveryNs;
        byte[] greeting = hello;
        for (String address : route.others()) {
            Connection.start("catraca-look", () -> {
                try {
                    long withinNs = options.lookTimeNs;
                    Connection made = Connection.open(address, greeting, options.tls, withinNs);
                    if (!post(() -> looked(round, address, made))) {
                        made.close();
                    }
                } catch (CatracaException whatever) {
                    // Whatever is wrong there, it is no primary to go to.
                }
            });
        }
    }

    /** One that decides in an earlier epoch was replaced, and does not know it. */
    private void looked(int round, String address, Connection made) {
        boolean counts = connection != null && round == lookRound && made.welcome.primary();
        if (!counts || Integer.compareUnsigned(made.welcome.epoch(), welcome.epoch()) < 0) {
            made.close();
            return;
        }
        lastFailure = address + " is the primary by now";
        failures = 0;
        detach();
        route.foundAt(address);
        adopt(made);
    }
}
