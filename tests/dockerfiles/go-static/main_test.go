package main

import "testing"

func TestGreeting(t *testing.T) {
	if got := greeting("you"); got != "hello, you from unknown" {
		t.Fatal(got)
	}
}
