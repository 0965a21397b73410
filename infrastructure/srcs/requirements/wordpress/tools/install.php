<?php
// Installs the site once: its owner, a second user, a first post. Run as root from the entrypoint, where the secrets can be read.
define('WP_INSTALLING', true);

// The installer would mail the owner; there is no mail server here.
function wp_new_blog_notification($title, $url, $user_id, $password) {}

require '/var/www/html/wp-load.php';
require_once ABSPATH . 'wp-admin/includes/upgrade.php';

function secret(string $name): string
{
    return trim(file_get_contents("/run/secrets/$name"));
}

function check($result)
{
    if (is_wp_error($result)) {
        fwrite(STDERR, 'wordpress: ' . $result->get_error_message() . "\n");
        exit(1);
    }
    return $result;
}

if (!is_blog_installed()) {
    $title = getenv('WP_TITLE');
    echo "wordpress: installing $title\n";
    wp_install($title, getenv('WP_OWNER'), getenv('WP_OWNER_EMAIL'), true, '', wp_slash(secret('wp_owner_password')));
    update_option('permalink_structure', '/%postname%/');
    update_option('blogdescription', 'NGINX, WordPress and MariaDB, each in a container of its own');
    wp_update_post([
        'ID' => 1,
        'post_title' => 'Inception is up',
        'post_name' => 'inception-is-up',
        'post_content' => '<p>This page came from MariaDB through PHP and NGINX, each in a container of its own, '
            . 'built from its own Dockerfile and started by one command, with no daemon behind them.</p>',
    ]);
}
if (!username_exists(getenv('WP_AUTHOR'))) {
    check(wp_insert_user([
        'user_login' => getenv('WP_AUTHOR'),
        'user_email' => getenv('WP_AUTHOR_EMAIL'),
        'user_pass' => secret('wp_author_password'),
        'role' => 'author',
    ]));
}
