<?php
// Nothing secret is written here: the password stays in a file on tmpfs that only www-data may read.
$domain = getenv('DOMAIN_NAME');
$host = $_SERVER['REQUESTED_HOST'] ?? $domain;
if (!preg_match('/^(localhost|' . preg_quote($domain, '/') . ')(:[0-9]+)?$/', $host)) {
    $host = $domain;
}
// The site answers by its own name and as localhost, and by no other that a request may bring along.
define('WP_HOME', "https://$host");
define('WP_SITEURL', "https://$host");
$_SERVER['HTTP_HOST'] = $host;
$_SERVER['HTTPS'] = 'on';

define('DB_HOST', getenv('MYSQL_HOST'));
define('DB_NAME', getenv('MYSQL_DATABASE'));
define('DB_USER', getenv('MYSQL_USER'));
define('DB_PASSWORD', trim(file_get_contents('/run/wordpress/db_password')));
define('DB_CHARSET', 'utf8mb4');
define('DB_COLLATE', '');
$table_prefix = 'wp_';

// Salts of this installation, made on first start.
require __DIR__ . '/wp-salts.php';

// The files come with the image: updates are rebuilds, and the server calls nobody.
define('DISALLOW_FILE_MODS', true);
define('AUTOMATIC_UPDATER_DISABLED', true);
define('WP_HTTP_BLOCK_EXTERNAL', true);
define('WP_DEBUG', false);

if (!defined('ABSPATH')) {
    define('ABSPATH', __DIR__ . '/');
}
require_once ABSPATH . 'wp-settings.php';
