<?php

// A client that is told line by line what to do: what scripts/clients/test_clients.py drives.

declare(strict_types=1);

use Catraca\AuthState;
use Catraca\BrokenProtocol;
use Catraca\CatracaException;
use Catraca\Channel;
use Catraca\Client;
use Catraca\ClusterState;
use Catraca\Decision;
use Catraca\Document;
use Catraca\NoAnswer;
use Catraca\NotSent;
use Catraca\Pong;
use Catraca\Rail;
use Catraca\Refused;
use Catraca\Replies;
use Catraca\Requests;
use Catraca\StoredDecision;
use Catraca\Tls;
use Catraca\Transaction;
use Catraca\Welcome;
use Catraca\WrongDocument;
use Catraca\WrongField;

require __DIR__ . '/../catraca.php';

set_error_handler(function (int $level, string $message, string $file, int $line): bool {
    if ((error_reporting() & $level) !== 0) {
        throw new ErrorException($message, 0, $level, $file, $line);
    }
    return false;
});

/** The bits of an unsigned decimal number of 64 bits. */
function number(array $fields, string $key): int
{
    [$high, $low] = [0, 0];
    foreach (str_split($fields[$key] ?? '') as $digit) {
        $low = $low * 10 + (int) $digit;
        $high = ($high * 10 + ($low >> 32)) & 0xFFFFFFFF;
        $low &= 0xFFFFFFFF;
    }
    return $high << 32 | $low;
}

function transaction(array $f, ?int $number = null): Transaction
{
    return new Transaction(
        ($f['id'] ?? '') . $number, $f['payer'] ?? '', $f['payee'] ?? '', $number ?? number($f, 'amount_centavos'),
        number($f, 'event_time_ns'), number($f, 'budget_us'), Rail::tryFrom(number($f, 'rail')) ?? throw new WrongField('rail'),
        Channel::tryFrom(number($f, 'channel')) ?? throw new WrongField('channel'), number($f, 'flags'),
        number($f, 'payer_account'), number($f, 'payee_account'), hex2bin($f['pix_key']), number($f, 'device'),
        ($f['ip'] ?? '') ?: null, $f['payer_ispb'], $f['payee_ispb'], hex2bin($f['trace_id']),
    );
}

function connect(array $f): Client
{
    $timing = [];
    foreach (['silence_ms' => 'silenceNs', 'look_every_ms' => 'lookEveryNs', 'look_time_ms' => 'lookTimeNs'] as $key => $name) {
        if (isset($f[$key])) {
            $timing[$name] = (int) $f[$key] * 1_000_000;
        }
    }
    $files = [$f['ca_file'] ?? '', $f['certificate_file'] ?? '', $f['key_file'] ?? ''];
    return new Client(
        explode(',', $f['address']), ($f['role'] ?? '') === 'any', $f['credential'] ?? '', $f['name'] ?? '',
        number($f, 'in_flight'), connectTimeoutMs: number($f, 'connect_timeout_ms') ?: 2_000,
        answerTimeoutMs: number($f, 'answer_timeout_ms') ?: 2_500,
        reconnectBaseMs: number($f, 'base_ms') ?: 50, reconnectMaxMs: number($f, 'max_ms') ?: 2_000, lazy: isset($f['lazy']),
        tls: $files[0] === '' ? null : new Tls(...$files), timing: $timing,
    );
}

function encoded(array $f): string
{
    $correlation = number($f, 'correlation');
    if ($f['kind'] === 'HELLO') {
        return Requests::greeting($f['credential'] ?? '', $f['client_name'] ?? '', number($f, 'in_flight'), $correlation);
    }
    if ($f['kind'] === 'AUTH') {
        return Requests::tokenFrames($f['token'], $correlation);
    }
    [$kind, $body] = match ($f['kind']) {
        'SUBMIT' => [Requests::SUBMIT, Requests::submit(transaction($f))],
        'LOOKUP' => [Requests::LOOKUP, Requests::lookup($f['id'], $f['payer'] ?? '')],
        'PING' => [Requests::PING, str_repeat("\0", 8)],
        'CLUSTER' => [Requests::CLUSTER, Requests::describe()],
    };
    return Requests::frame($kind, $correlation, $body);
}

function ofError(CatracaException $error): array
{
    return ['text' => $error->getMessage(), 'recorded' => $error->recorded()->value] + match (true) {
        $error instanceof WrongDocument => ['type' => 'document', 'reason' => $error->reason],
        $error instanceof WrongField => ['type' => 'field'],
        $error instanceof NotSent => ['type' => 'connect', 'no_primary' => $error->noPrimary ? 'true' : 'false'],
        $error instanceof NoAnswer => ['type' => 'no_answer'],
        $error instanceof BrokenProtocol => ['type' => 'protocol'],
        $error instanceof Refused => ['type' => 'refused', 'code' => $error->error->value,
            'retry_after_ms' => $error->retryAfterMs, 'detail' => $error->detail, 'closing' => (int) $error->closing],
    };
}

function unsigned(int $number): string
{
    return sprintf('%u', $number);
}

/** What an answer says, named as PROTOCOL.md does. */
function ofAnswer(object $a): array
{
    return match (true) {
        $a instanceof Welcome => ['kind' => 'WELCOME', 'role' => $a->primary ? 1 : 2, 'durability' => $a->durability->value,
            'epoch' => $a->epoch, 'node_id' => $a->nodeId, 'cluster_id' => $a->clusterId, 'shards' => $a->shards,
            'max_frame' => $a->maxFrame, 'in_flight' => $a->inFlight, 'primary' => $a->primaryAddress],
        $a instanceof Decision => ['kind' => 'VERDICT', 'verdict' => $a->verdict->value,
            'flags' => (int) $a->duplicate | 2 * (int) $a->degraded | 4 * (int) $a->shadowDisagrees, 'score' => $a->score,
            'policy_version' => $a->policyVersion, 'blacklist_version' => unsigned($a->blacklistVersion),
            'matched_rules' => unsigned($a->matchedRules), 'shard' => $a->shard, 'epoch' => $a->epoch, 'lsn' => unsigned($a->lsn),
            'receipt' => unsigned($a->receipt), 'reason' => $a->reason],
        $a instanceof AuthState => ['kind' => 'AUTH_STATE', 'expires_at_ns' => unsigned($a->expiresAtNs)],
        $a instanceof Pong => ['kind' => 'PONG', 'server_time_ns' => unsigned($a->serverTimeNs)],
        $a instanceof Refused => ['kind' => 'ERROR'] + ofError($a),
        $a instanceof ClusterState => ['kind' => 'CLUSTER_STATE', 'role' => $a->primary ? 1 : 2,
            'durability' => $a->durability->value, 'in_sync' => (int) $a->inSync, 'connected' => (int) $a->connected,
            'epoch' => $a->epoch, 'node_id' => $a->nodeId, 'cluster_id' => $a->clusterId, 'peer_node_id' => $a->peerNodeId,
            'behind_records' => unsigned($a->behindRecords), 'behind_bytes' => unsigned($a->behindBytes),
            'silence_ms' => unsigned($a->silenceMs ?? -1), 'primary' => $a->primaryAddress, 'peer' => $a->peerAddress],
        $a instanceof StoredDecision => ['kind' => 'RECORD', 'epoch' => $a->epoch, 'shard' => $a->shard, 'segment' => $a->segment,
            'block_offset' => $a->blockOffset, 'chain' => $a->chain, 'extension' => bin2hex($a->extension),
            'verdict' => $a->verdict->value, 'record_flags' => $a->flags, 'score' => $a->score, 'reason' => $a->reason,
            'payer_source' => $a->payerSource, 'payee_source' => $a->payeeSource, 'policy_version' => $a->policyVersion,
            'lsn' => unsigned($a->lsn), 'decided_at_ns' => unsigned($a->decidedAtNs), 'snapshot_id' => unsigned($a->snapshotId),
            'overlay_sequence' => unsigned($a->overlaySequence), 'matched_rules' => unsigned($a->matchedRules),
            'list_day' => $a->listDay, 'list_sequence' => unsigned($a->listSequence),
            'institution' => $a->institution, 'submitter' => $a->submitter] + ofTransaction($a->transaction),
    };
}

function ofTransaction(Transaction $t): array
{
    return ['id' => $t->id, 'payer' => $t->payer, 'payee' => $t->payee, 'amount_centavos' => $t->amountCentavos,
        'event_time_ns' => unsigned($t->eventTimeNs), 'budget_us' => $t->budgetUs, 'rail' => $t->rail->value,
        'channel' => $t->channel->value, 'flags' => $t->flags, 'payer_account' => unsigned($t->payerAccount),
        'payee_account' => unsigned($t->payeeAccount), 'pix_key' => bin2hex($t->pixKey), 'device' => unsigned($t->device),
        'ip' => $t->ip ?? '', 'payer_ispb' => $t->payerIspb, 'payee_ispb' => $t->payeeIspb, 'trace_id' => bin2hex($t->traceId)];
}

function say(string $word, array $said): void
{
    foreach ($said as $key => $value) {
        $word .= "\t$key=" . rawurlencode((string) $value);
    }
    fwrite(STDOUT, "$word\n");
}

/** As many at once as there is room for; one each millisecond, until there is that file, where one is named. */
function pay(Client $client, array $f): void
{
    $numbers = [];
    $tell = function () use ($client, &$numbers): void {
        $reply = $client->receive();
        $said = $reply->decision !== null ? ofAnswer($reply->decision) : ofError($reply->error);
        say('answer', ['number' => $numbers[$reply->correlation]] + $said);
    };
    $until = $f['until'] ?? '';
    for ($number = 1; $number <= (int) $f['count']; $number++) {
        if ($until !== '') {
            usleep(1_000);
            clearstatcache();
            if (file_exists($until)) {
                break;
            }
        }
        $numbers[$client->submit(transaction($f, $number))] = $number;
        while ($client->owed() > 64) {
            $tell();
        }
    }
    while ($client->owed() > 0) {
        $tell();
    }
}

function perform(string $command, array $f, ?Client &$client): array
{
    switch ($command) {
        case 'document':
            $document = Document::canonical($f['text']);
            return ['canonical' => $document, 'masked' => Document::masked($document)];
        case 'show':
            return ['text' => transaction($f) . print_r(transaction($f), true)];
        case 'encode':
            return ['hex' => bin2hex(encoded($f))];
        case 'decode':
            [$correlation, $answer] = Replies::decode(hex2bin($f['hex']));
            return ['correlation' => unsigned($correlation)] + ofAnswer($answer);
        case 'connect':
            $client = null;
            $client = connect($f);
            return [];
        case 'close':
            $client?->close();
            return [];
        case 'welcome':
            return ofAnswer($client->welcome());
        case 'decide':
            return ofAnswer($client->decide(transaction($f)));
        case 'submit':
            $client->submit(transaction($f));
            return [];
        case 'receive':
            return ofAnswer($client->receive()->result());
        case 'lookup':
            return ofAnswer($client->lookup($f['id'], $f['payer']));
        case 'ping':
            return ['server_time_ns' => unsigned($client->ping())];
        case 'cluster':
            return ofAnswer($client->cluster());
        case 'renew':
            return ofAnswer(new AuthState($client->renew($f['token']) ?? 0));
        case 'token':
            return ofAnswer(new AuthState($client->tokenExpiresAtNs() ?? 0));
        case 'pay':
            pay($client, $f);
            return [];
    }
    throw new LogicException($command);
}

$client = null;
while (($line = fgets(STDIN)) !== false) {
    $words = explode("\t", rtrim($line, "\n"));
    $fields = [];
    foreach (array_slice($words, 1) as $word) {
        [$key, $value] = explode('=', $word, 2);
        $fields[$key] = rawurldecode($value);
    }
    try {
        say('ok', perform($words[0], $fields, $client));
    } catch (CatracaException $failed) {
        say('error', ofError($failed));
    }
}
