<?php
$db = new PDO('sqlite:/var/lib/app/visits.db');
$db->exec('CREATE TABLE IF NOT EXISTS visits (at TEXT)');
$db->exec("INSERT INTO visits VALUES (datetime('now'))");
echo 'visits: ', $db->query('SELECT count(*) FROM visits')->fetchColumn(), "\n";
