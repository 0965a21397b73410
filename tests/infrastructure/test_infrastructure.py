"""The flagship, as a visitor, an owner and an unlucky operator see it: built, up, used, killed, down and up again."""

import http.cookiejar
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

HERE = Path(__file__).parents[2]
INCEPTION = HERE / ".venv/bin/inception"
PORT = 9443
SITE = f"https://localhost:{PORT}"

pytestmark = [pytest.mark.needs("root", "nft", "mmdebstrap", "curl")]


class Site:
    """The infrastructure on an engine of its own, with data and secrets below *folder*."""

    def __init__(self, folder):
        self.data, self.secrets = folder / "data", folder / "secrets"
        self.engine = [INCEPTION, "--root", folder / "root", "--run-root", folder / "run"]
        self.environment = {
            **os.environ,
            "INCEPTION_ROOT": str(folder / "root"),
            "INCEPTION_RUN_ROOT": str(folder / "run"),
            "DATA_PATH": str(self.data),
            "SECRETS_PATH": str(self.secrets),
            "HTTPS_PORT": str(PORT),
        }

    def run(self, *words, timeout=600):
        done = subprocess.run(
            words, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, f"{words}: {done.stdout[-4000:]}{done.stderr[-4000:]}"
        return done.stdout

    def up(self):
        return self.run(HERE / "infrastructure/up")

    def down(self):
        return self.run(HERE / "infrastructure/down")

    def inspect(self, service):
        return json.loads(self.run(*self.engine, "inspect", f"inception-{service}-1"))[0]

    def secret(self, name):
        return (self.secrets / f"{name}.txt").read_text().strip()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("infrastructure")
    site = Site(folder)
    try:
        site.said = site.up()
        yield site
    finally:
        subprocess.run([HERE / "infrastructure/down"], env=site.environment, check=False, capture_output=True, timeout=120)
        subprocess.run([*site.engine, "network", "prune", "-f"], check=False, capture_output=True, timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def browser():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    return urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), cookies)


def get(path="/", opener=None):
    with (opener or browser()).open(f"{SITE}{path}", timeout=30) as answer:
        return answer.read().decode()


def curl(*options):
    done = subprocess.run(
        ["curl", "--silent", "--insecure", "--max-time", "10", "--output", "/dev/null", *options], check=False, timeout=30
    )
    return done.returncode


def wait_for(condition, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if condition():
                return
        except (OSError, AssertionError):
            pass
        assert time.monotonic() < deadline, "it did not come back"
        time.sleep(0.2)


def login(site, user, password):
    opener = browser()
    get("/wp-login.php", opener)  # WordPress wants its test cookie back
    form = {"log": user, "pwd": password, "wp-submit": "Log In", "redirect_to": f"{SITE}/wp-admin/", "testcookie": "1"}
    with opener.open(f"{SITE}/wp-login.php", urllib.parse.urlencode(form).encode(), timeout=30) as answer:
        return opener, answer.geturl(), answer.read().decode()


def test_up_says_where_the_site_is(site):
    assert SITE in site.said
    assert "https://inception.42.fr" in site.said


def test_the_front_page_shows_the_content_and_not_the_installer(site):
    page = get()
    assert "Inception is up" in page
    assert "wp-admin/install.php" not in page
    assert "came from MariaDB through PHP and NGINX" in get("/inception-is-up/")


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_modern_tls_is_spoken(site, version):
    assert curl(f"--tlsv{version}", "--tls-max", version, SITE) == 0


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_old_tls_is_refused(site, version):
    # The client's own library must be talked into offering it, else it would refuse by itself.
    assert curl("--tlsv1.0", "--tls-max", version, "--ciphers", "DEFAULT@SECLEVEL=0", SITE) == 35


def test_only_nginx_is_published_and_only_on_443(site):
    published = {s: site.inspect(s)["NetworkSettings"]["Ports"] for s in ("nginx", "wordpress", "mariadb")}
    assert list(published["nginx"]) == ["443/tcp"]
    assert published["nginx"]["443/tcp"][0]["HostPort"] == str(PORT)
    assert not [binding for s in ("wordpress", "mariadb") for binding in published[s].values() if binding]


def test_the_owner_logs_in_and_a_wrong_password_does_not(site):
    _, url, page = login(site, "maestro", site.secret("wp_owner_password"))
    assert url.startswith(f"{SITE}/wp-admin/") and "Dashboard" in page
    _, url, page = login(site, "maestro", "wrong")
    assert "wp-login.php" in url and "login_error" in page


def test_there_are_two_users_and_no_admin_in_the_owners_name(site):
    opener, url, _ = login(site, "author", site.secret("wp_author_password"))
    assert url.startswith(f"{SITE}/wp-admin/")
    users = json.loads(get("/wp-json/wp/v2/users", opener))
    assert "admin" not in json.dumps([user["name"] for user in users]).lower()


def test_a_comment_is_kept_through_down_and_up(site):
    opener, _, _ = login(site, "maestro", site.secret("wp_owner_password"))
    words = f"a comment at {time.time()}"
    post = re.search(r"comment_post_ID' value='(\d+)'", get("/inception-is-up/", opener)).group(1)
    form = urllib.parse.urlencode({"comment": words, "comment_post_ID": post, "comment_parent": "0"}).encode()
    with opener.open(f"{SITE}/wp-comments-post.php", form, timeout=30) as answer:
        assert words in answer.read().decode()
    site.down()
    assert curl(SITE) == 7  # nobody listens any more
    site.up()
    assert words in get("/inception-is-up/")


@pytest.mark.parametrize(("service", "program"), [("mariadb", "mariadbd"), ("wordpress", "php-fpm"), ("nginx", "nginx")])
def test_each_service_is_pid_1_and_comes_back_after_kill_9(site, service, program):
    state = site.inspect(service)["State"]
    assert program in Path(f"/proc/{state['Pid']}/cmdline").read_bytes().decode()
    status = Path(f"/proc/{state['Pid']}/status").read_text()
    assert re.search(r"^NSpid:.*\s1$", status, re.MULTILINE)
    os.kill(state["Pid"], signal.SIGKILL)

    def back():
        now = site.inspect(service)["State"]
        return now["Pid"] not in (0, state["Pid"]) and now["Health"]["Status"] == "healthy"

    wait_for(back)
    wait_for(lambda: "Inception is up" in get())
    assert site.inspect(service)["RestartCount"] >= 1


def test_the_data_lies_in_the_folders_of_the_host(site):
    assert (site.data / "wordpress/wp-config.php").is_file()
    assert (site.data / "mariadb/wordpress").is_dir()


def test_no_password_is_in_an_image_a_configuration_or_git(site):
    secrets = [site.secret(f.stem).encode() for f in site.secrets.glob("*.txt")]
    assert len(secrets) == 4 and all(len(secret) > 20 for secret in secrets)
    shown = b"".join(
        site.run(*site.engine, "inspect", name).encode() + site.run(*site.engine, "history", "--no-trunc", image).encode()
        for name, image in (
            ("inception-nginx-1", "nginx:1.0"),
            ("inception-wordpress-1", "wordpress:1.0"),
            ("inception-mariadb-1", "mariadb:1.0"),
        )
    )
    found = [secret for secret in secrets if secret in shown]
    archive = site.data.parent / "images.tar"
    site.run(*site.engine, "save", "-o", archive, "nginx:1.0", "wordpress:1.0", "mariadb:1.0")
    patterns = site.data.parent / "patterns"
    patterns.write_bytes(b"\n".join(secrets))
    layers = subprocess.run(["grep", "--fixed-strings", "--count", "-f", patterns, archive], capture_output=True, check=False)
    assert not found and layers.stdout.strip() == b"0"
    assert subprocess.run(["git", "check-ignore", "-q", "infrastructure/secrets/x.txt"], cwd=HERE, check=False).returncode == 0


def test_images_are_named_as_their_services_and_never_latest(site):
    names = site.run(*site.engine, "images", "--format", "{{.Repository}}:{{.Tag}}").split()
    assert {"nginx:1.0", "wordpress:1.0", "mariadb:1.0"} <= set(names)
    assert not [name for name in names if name.endswith(":latest")]


def test_up_again_changes_nothing(site):
    before = {s: site.inspect(s)["Id"] for s in ("nginx", "wordpress", "mariadb")}
    site.up()
    assert {s: site.inspect(s)["Id"] for s in before} == before


def test_dockers_own_compose_brings_the_same_up(site, compose):
    """Over our socket, with builds of its own making: BuildKit's protocol."""
    site.down()
    run_root = site.data.parent / "run"
    server = subprocess.Popen([*site.engine, "serve"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: (run_root / "docker.sock").exists())
        site.environment |= {"DOCKER_HOST": f"unix://{run_root}/docker.sock", "DOCKER_CONFIG": str(site.data.parent)}
        project = [compose, "--progress=plain", "--file", HERE / "infrastructure/srcs/docker-compose.yml"]
        said = site.run(*project, "up", "--detach", "--build", "--wait")
        assert "load build definition from Dockerfile" in said
        assert "Inception is up" in get()
        assert curl("--tlsv1.3", SITE) == 0
        site.run(*project, "down")
    finally:
        server.terminate()
        server.wait(30)
