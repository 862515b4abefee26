// The comparison's application on Go's net/http/fcgi: a goroutine for each request. go-peer PATH
package main

import (
	"bytes"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/fcgi"
	"os"
	"strconv"
	"sync"
)

var hello = []byte("Hello world\n")

var (
	once     sync.Once
	bytes10m []byte
)

// Made when it is first asked for.
func large() []byte {
	once.Do(func() { bytes10m = bytes.Repeat([]byte("0123456789abcde\n"), 10<<20/16) })
	return bytes10m
}

func answer(w http.ResponseWriter, r *http.Request) {
	var body []byte
	switch r.URL.Path {
	case "/hello":
		body = hello
	case "/64k":
		body = large()[:64<<10]
	case "/10m":
		body = large()
	default:
		length, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			return
		}
		body = []byte(strconv.FormatInt(length, 10))
	}
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("write go-peer PATH")
	}
	listener, err := net.Listen("unix", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(fcgi.Serve(listener, http.HandlerFunc(answer)))
}
