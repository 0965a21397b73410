# Sourced by each `check`: $INCEPTION is the command line of an engine of its own, $IMAGE what was built.

start() { # arguments of `run -d`, the image among them; the container is $C, and gone when the check ends
    C=$($INCEPTION run -d "$@")
    trap '$INCEPTION logs "$C" >&2 || true; $INCEPTION rm -f "$C" >/dev/null' EXIT
}

inside() { $INCEPTION exec "$C" "$@"; }

once() { $INCEPTION run --rm --network none "$@"; }

eventually() { # a command that succeeds within half a minute
    for _ in $(seq 150); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        sleep 0.2
    done
    "$@"
}

says() { # TEXT COMMAND...: its output has the text
    text=$1
    shift
    "$@" | tee /dev/stderr | grep -q -F -- "$text"
}
