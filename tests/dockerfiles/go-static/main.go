package main

import (
	"fmt"
	"net/http"
	"os"
)

var version = "unknown"

func greeting(name string) string { return "hello, " + name + " from " + version }

func main() {
	if len(os.Args) > 1 && os.Args[1] == "-check" {
		answer, err := http.Get("http://127.0.0.1:8080/health")
		if err != nil || answer.StatusCode != 200 {
			os.Exit(1)
		}
		return
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, greeting(r.URL.Path[1:])) })
	fmt.Println(http.ListenAndServe(":8080", nil))
	os.Exit(1)
}
