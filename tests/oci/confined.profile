# For tests/oci/test_apparmor.py: everything but writing to /tmp/denied and reading /etc/secret.
profile inception-test flags=(attach_disconnected,mediate_deleted) {
  capability,
  network,
  mount,
  signal,
  ptrace,
  file,
  deny /tmp/denied w,
  deny /etc/secret r,
}
