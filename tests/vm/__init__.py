"""A machine of its own: Debian's cloud kernel under QEMU, for what the machine at hand can't show (docs/test-machine.md)."""
