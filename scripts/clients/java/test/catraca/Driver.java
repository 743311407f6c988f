package catraca;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.InetAddress;
import java.net.URLDecoder;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.LinkedBlockingQueue;

/** A client that is told line by line what to do: what scripts/clients/test_clients.py drives. */
final class Driver {
    private static final PrintStream OUTPUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    private final Map<String, String> fields = new HashMap<>();
    private LinkedBlockingQueue<CompletableFuture<Decision>> replies = new LinkedBlockingQueue<>();
    private Client client;

    public static void main(String[] arguments) throws IOException, InterruptedException {
        Driver driver = new Driver();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split("\t", -1);
            driver.fields.clear();
            for (String word : List.of(words).subList(1, words.length)) {
                String[] pair = word.split("=", 2);
                driver.fields.put(pair[0], URLDecoder.decode(pair[1], StandardCharsets.UTF_8));
            }
            try {
                say("ok", driver.run(words[0]));
            } catch (CatracaException failed) {
                say("error", ofError(failed));
            }
        }
    }

    private static void say(String word, List<Object> pairs) {
        StringBuilder line = new StringBuilder(word);
        for (int at = 0; at < pairs.size(); at += 2) {
            String value = URLEncoder.encode(String.valueOf(pairs.get(at + 1)), StandardCharsets.UTF_8).replace("+", "%20");
            line.append('\t').append(pairs.get(at)).append('=').append(value);
        }
        synchronized (OUTPUT) {
            OUTPUT.print(line.append('\n'));
            OUTPUT.flush();
        }
    }

    private String text(String key) {
        return fields.getOrDefault(key, "");
    }

    private long number(String key) {
        return text(key).isEmpty() ? 0 : Long.parseUnsignedLong(text(key));
    }

    private byte[] bytes(String key) {
        return HexFormat.of().parseHex(text(key));
    }

    private Transaction transaction() {
        return transaction(text("id"), number("amount_centavos"));
    }

    private Transaction transaction(String id, long amount) {
        try {
            Rail rail = Rail.of((int) number("rail"));
            Channel channel = Channel.of((int) number("channel"));
            InetAddress ip = text("ip").isEmpty() ? null : InetAddress.getByName(text("ip"));
            return Transaction.builder(id, text("payer"), text("payee"), amount).eventTimeNs(number("event_time_ns"))
                    .budget(Duration.ofNanos(number("budget_us") * 1_000)).rail(rail).channel(channel)
                    .flags((int) number("flags"))
                    .accounts(number("payer_account"), number("payee_account")).pixKey(bytes("pix_key")).device(number("device"))
                    .ip(ip).ispbs(text("payer_ispb"), text("payee_ispb")).traceId(bytes("trace_id")).build();
        } catch (CatracaException.BrokenProtocol unknown) {
            throw new CatracaException.WrongField("rail or channel");
        } catch (IOException wrong) {
            throw new IllegalArgumentException(wrong);
        }
    }

    private Options options() {
        Options options = Options.of(text("address").split(",")).credential(text("credential")).name(text("name"))
                .inFlight((int) number("in_flight"))
                .reconnect(Duration.ofMillis(Math.max(number("base_ms"), 1)), Duration.ofMillis(Math.max(number("max_ms"), 1)));
        if (!text("certificate_file").isEmpty()) {
            Path certificate = Path.of(text("certificate_file"));
            options.tls(Path.of(text("ca_file")), certificate, Path.of(text("key_file")));
        } else if (!text("ca_file").isEmpty()) {
            options.tls(Path.of(text("ca_file")));
        }
        if (text("role").equals("any")) {
            options.anyRole();
        }
        if (!text("lazy").isEmpty()) {
            options.lazy();
        }
        if (number("connect_timeout_ms") > 0) {
            options.connectTimeout(Duration.ofMillis(number("connect_timeout_ms")));
        }
        if (number("answer_timeout_ms") > 0) {
            options.answerTimeout(Duration.ofMillis(number("answer_timeout_ms")));
        }
        if (number("silence_ms") > 0) {
            options.silenceNs = number("silence_ms") * 1_000_000;
            options.lookEveryNs = number("look_every_ms") * 1_000_000;
            options.lookTimeNs = number("look_time_ms") * 1_000_000;
        }
        return options;
    }

    private List<Object> run(String command) throws InterruptedException {
        switch (command) {
            case "document":
                String document = Document.canonical(text("text"));
                return List.of("canonical", document, "masked", Document.masked(document));
            case "show":
                return List.of("text", transaction().toString());
            case "encode":
                return List.of("hex", HexFormat.of().formatHex(encoded()));
            case "decode":
                Replies.Reply reply = Replies.decode(bytes("hex"));
                List<Object> said = new ArrayList<>(List.of("correlation", Long.toUnsignedString(reply.correlation())));
                said.addAll(ofAnswer(reply.answer()));
                return said;
            case "connect":
                client = null;
                replies = new LinkedBlockingQueue<>();
                client = new Client(options());
                return List.of();
            case "close":
                if (client != null) {
                    client.close();
                }
                return List.of();
            case "welcome":
                return ofAnswer(client.welcome().orElseThrow());
            case "decide":
                return ofAnswer(client.decide(transaction()));
            case "submit":
                LinkedBlockingQueue<CompletableFuture<Decision>> into = replies;
                CompletableFuture<Decision> submitted = client.submit(transaction());
                submitted.whenComplete((decision, error) -> into.add(submitted));
                return List.of();
            case "receive":
                try {
                    return ofAnswer(replies.take().join());
                } catch (CompletionException failed) {
                    throw (CatracaException) failed.getCause();
                }
            case "lookup":
                return ofAnswer(client.lookup(text("id"), text("payer")));
            case "ping":
                return ofAnswer(client.ping());
            case "cluster":
                return ofAnswer(client.cluster());
            case "renew":
                return ofAnswer(new Replies.AuthState(client.renew(text("token")).orElse(0)));
            case "token":
                return ofAnswer(new Replies.AuthState(client.tokenExpiresAtNs().orElse(0)));
            case "pay":
                pay();
                return List.of();
            default:
                throw new IllegalArgumentException(command);
        }
    }

    /** All at once where a number of them is asked for; else one each millisecond until there is that file. */
    private void pay() throws InterruptedException {
        List<CompletableFuture<Void>> told = new ArrayList<>();
        for (long number = 1; number <= number("count"); number++) {
            if (!text("until").isEmpty()) {
                Thread.sleep(1);
                if (Files.exists(Path.of(text("until")))) {
                    break;
                }
            }
            long of = number;
            told.add(client.decideAsync(transaction(text("id") + number, number)).handle((decision, error) -> {
                List<Object> said = new ArrayList<>(List.of("number", of));
                said.addAll(error == null ? ofAnswer(decision) : ofError((CatracaException) error));
                say("answer", said);
                return null;
            }));
        }
        told.forEach(CompletableFuture::join);
    }

    private byte[] encoded() {
        long correlation = number("correlation");
        return switch (text("kind")) {
            case "HELLO" -> Requests.greeting(text("credential"), text("client_name"), number("in_flight"), correlation);
            case "AUTH" -> Requests.tokenFrames(Requests.token(text("token")), correlation);
            case "SUBMIT" -> Requests.frame(Requests.SUBMIT, correlation, Requests.submit(transaction()));
            case "LOOKUP" -> Requests.frame(Requests.LOOKUP, correlation, Requests.lookup(text("id"), text("payer")));
            case "PING" -> Requests.frame(Requests.PING, correlation, new byte[8]);
            default -> Requests.frame(Requests.CLUSTER, correlation, Requests.describe());
        };
    }

    private static List<Object> ofError(CatracaException error) {
        String recorded = error.recorded().name().toLowerCase(Locale.ROOT);
        List<Object> said = pairs("text", error.getMessage(), "recorded", recorded);
        if (error instanceof CatracaException.WrongDocument wrong) {
            said.addAll(List.of("type", "document", "reason", wrong.reason));
        } else if (error instanceof CatracaException.NotSent none) {
            said.addAll(List.of("type", "connect", "no_primary", none.noPrimary));
        } else if (error instanceof CatracaException.Refused refused) {
            said.addAll(List.of("type", "refused", "code", refused.code.code(), "retry_after_ms", refused.retryAfter.toMillis(),
                    "detail", refused.detail, "closing", bit(refused.closing, 1)));
        } else if (error instanceof CatracaException.WrongField) {
            said.addAll(List.of("type", "field"));
        } else {
            said.addAll(List.of("type", error instanceof CatracaException.NoAnswer ? "no_answer" : "protocol"));
        }
        return said;
    }

    private static int bit(boolean set, int value) {
        return set ? value : 0;
    }

    private static String unsigned(long number) {
        return Long.toUnsignedString(number);
    }

    /** What an answer says, named as PROTOCOL.md does. */
    private static List<Object> ofAnswer(Object answer) {
        if (answer instanceof Welcome a) {
            return pairs("kind", "WELCOME", "role", a.primary() ? 1 : 2, "durability", a.durability().code(), "epoch",
                    Integer.toUnsignedString(a.epoch()), "node_id", a.nodeId(), "cluster_id", a.clusterId(), "shards", a.shards(),
                    "max_frame", a.maxFrame(), "in_flight", a.inFlight(), "primary", a.primaryAddress());
        } else if (answer instanceof Decision a) {
            return pairs("kind", "VERDICT", "verdict", a.verdict().code(), "flags",
                    bit(a.duplicate(), 1) | bit(a.degraded(), 2) | bit(a.shadowDisagrees(), 4), "score", a.score(),
                    "policy_version", Integer.toUnsignedString(a.policyVersion()),
                    "blacklist_version", unsigned(a.blacklistVersion()),
                    "matched_rules", unsigned(a.matchedRules()), "shard", a.shard(), "epoch", Integer.toUnsignedString(a.epoch()),
                    "lsn", unsigned(a.lsn()), "receipt", unsigned(a.receipt()), "reason", a.reason());
        } else if (answer instanceof ClusterState a) {
            return pairs("kind", "CLUSTER_STATE", "role", a.primary() ? 1 : 2, "durability", a.durability().code(), "in_sync",
                    bit(a.inSync(), 1), "connected", bit(a.connected(), 1), "epoch", Integer.toUnsignedString(a.epoch()),
                    "node_id", a.nodeId(), "cluster_id", a.clusterId(), "peer_node_id", a.peerNodeId(),
                    "behind_records", unsigned(a.behindRecords()), "behind_bytes", unsigned(a.behindBytes()),
                    "silence_ms", unsigned(a.silenceMs()), "primary", a.primaryAddress(), "peer", a.peerAddress());
        } else if (answer instanceof Replies.AuthState state) {
            return pairs("kind", "AUTH_STATE", "expires_at_ns", unsigned(state.expiresAtNs()));
        } else if (answer instanceof Long clock) {
            return pairs("kind", "PONG", "server_time_ns", unsigned(clock));
        } else if (answer instanceof CatracaException.Refused refused) {
            List<Object> said = pairs("kind", "ERROR");
            said.addAll(ofError(refused));
            return said;
        }
        StoredDecision a = (StoredDecision) answer;
        List<Object> said = pairs("kind", "RECORD", "epoch", Integer.toUnsignedString(a.epoch()), "shard", a.shard(),
                "segment", a.segment(), "block_offset", a.blockOffset(), "chain", a.chain(), "extension", a.extension(),
                "verdict", a.verdict().code(), "record_flags", a.flags(), "score", a.score(), "reason", a.reason(),
                "payer_source", a.payerSource(), "payee_source", a.payeeSource(), "policy_version", a.policyVersion(),
                "lsn", unsigned(a.lsn()), "decided_at_ns", unsigned(a.decidedAtNs()), "snapshot_id", unsigned(a.snapshotId()),
                "overlay_sequence", unsigned(a.overlaySequence()), "matched_rules", unsigned(a.matchedRules()),
                "list_day", a.listDay(), "list_sequence", unsigned(a.listSequence()), "institution", a.institution(),
                "submitter", a.submitter());
        Transaction t = a.transaction();
        said.addAll(pairs("id", t.id(), "payer", t.payer(), "payee", t.payee(), "amount_centavos", t.amountCentavos(),
                "event_time_ns", unsigned(t.eventTimeNs()), "budget_us", t.budget().toNanos() / 1_000, "rail", t.rail().code(),
                "channel", t.channel().code(), "flags", t.flags(), "payer_account", unsigned(t.payerAccount()),
                "payee_account", unsigned(t.payeeAccount()), "pix_key", HexFormat.of().formatHex(t.pixKey()),
                "device", unsigned(t.device()), "ip", t.ip() == null ? "" : t.ip().getHostAddress(), "payer_ispb", t.payerIspb(),
                "payee_ispb", t.payeeIspb(), "trace_id", HexFormat.of().formatHex(t.traceId())));
        return said;
    }

    private static List<Object> pairs(Object... pairs) {
        return new ArrayList<>(List.of(pairs));
    }
}
