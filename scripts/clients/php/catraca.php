<?php

// Everything of the client, for a program without an autoloader: require this file.

declare(strict_types=1);

$names = ['Errors', 'Document', 'Values', 'Transaction', 'Requests', 'Replies', 'Route', 'Tls',
    'Connection', 'Recovery', 'Client'];
foreach ($names as $name) {
    require_once __DIR__ . "/src/$name.php";
}
