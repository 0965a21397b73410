<?php
// Answers through php-fpm whether the site can be served: WordPress loads, the database answers, the site is installed.
require '/var/www/html/wp-load.php';
$installed = is_blog_installed();
http_response_code($installed ? 200 : 503);
echo $installed ? 'healthy' : 'not installed';
