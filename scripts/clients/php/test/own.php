<?php

// What is PHP's own, without a server: defaults, print, the route. Ends with a status other than 0 where something fails.

declare(strict_types=1);

use Catraca\CatracaException;
use Catraca\Client;
use Catraca\Recorded;
use Catraca\Route;
use Catraca\Transaction;
use Catraca\WrongField;

require __DIR__ . '/../catraca.php';

function holds(bool $what, string $why): void
{
    if (!$what) {
        fwrite(STDERR, "$why\n");
        exit(1);
    }
}

$route = new Route(['a:1'], true);
for ($number = 1; $number <= 50; $number++) {
    $route->beginRound();
    holds($route->standby("x:$number") && $route->address() === "x:$number", "x:$number is next");
}
holds($route->addresses === ['a:1', 'x:47', 'x:48', 'x:49', 'x:50'], 'learned addresses are few, and the configured ones stay');

$before = time();
$payment = new Transaction('order-1', '049.332.286-80', '12.ABC.345/01DE-35', 1);
$seconds = intdiv($payment->eventTimeNs, 1_000_000_000);
holds($before <= $seconds && $seconds <= time(), 'a payment happens now, in nanoseconds');

$lazy = new Client(['a:1'], credential: 'sesame', lazy: true);
ob_start();
var_dump($lazy, $payment);
$shown = ob_get_clean();
foreach (['sesame', '04933228680', '049.332', '01DE'] as $secret) {
    holds(!str_contains($shown, $secret), "$secret is shown: $shown");
}
holds($lazy->welcome() === null && $lazy->owed() === 0, 'a lazy client has not connected');

$wrong = [
    fn () => new Client([]),
    fn () => new Client(['a:1', 'a:1'], lazy: true),
    fn () => new Client(['::1:7400'], lazy: true),
    fn () => new Client(['a:1'], inFlight: Client::MAX_IN_FLIGHT + 1, lazy: true),
    fn () => new Client(['a:1'], connectTimeoutMs: 0, lazy: true),
    fn () => $lazy->receive(),
];
foreach ($wrong as $number => $one) {
    try {
        $one();
        holds(false, "what can not work was taken: $number");
    } catch (CatracaException $refused) {
        holds($refused instanceof WrongField && $refused->recorded() === Recorded::No, "another error: $refused");
    }
}
