// Command upstream stands for a model provider that costs nothing: it speaks OpenAI's chat
// completions and answers at once, whole or as server-sent events.
//
// It prints the address that it listens on, and ends with its standard input.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
)

const head = `{"id":"chatcmpl-1","created":1700000000,"model":"instant","system_fingerprint":"f",`

// answers holds what is sent, made once.
type answers struct {
	whole, stream, counted []byte
}

func newAnswers(words int) answers {
	usage := fmt.Sprintf(`{"prompt_tokens":20,"completion_tokens":%d,"total_tokens":%d}`, words, words+20)
	text := strings.Repeat("word ", words)
	whole := head + `"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"` +
		text + `"},"logprobs":null,"finish_reason":"stop"}],"usage":` + usage + `}`
	var stream strings.Builder
	chunk := func(choices, more string) {
		stream.WriteString("data: " + head + `"object":"chat.completion.chunk","choices":[` + choices + `]` + more + "}\n\n")
	}
	chunk(`{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}`, "")
	for range words {
		chunk(`{"index":0,"delta":{"content":"word "},"logprobs":null,"finish_reason":null}`, "")
	}
	chunk(`{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}`, "")
	plain := stream.String()
	chunk("", `,"usage":`+usage)
	const done = "data: [DONE]\n\n"
	return answers{[]byte(whole), []byte(plain + done), []byte(stream.String() + done)}
}

// asked is what of a request says how it is answered.
type asked struct {
	Stream        bool `json:"stream"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
}

func (a answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var wish asked
	if err == nil {
		err = json.Unmarshal(body, &wish)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	kind, answer := "application/json", a.whole
	if wish.Stream {
		kind, answer = "text/event-stream", a.stream
		if wish.StreamOptions.IncludeUsage {
			answer = a.counted
		}
	}
	w.Header().Set("Content-Type", kind)
	w.Write(answer)
}

func main() {
	words := flag.Int("words", 16, "words of an answer, a chunk each")
	flag.Parse()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr())
	handler := http.NewServeMux()
	handler.Handle("POST /v1/chat/completions", newAnswers(*words))
	go func() { log.Fatal(http.Serve(listener, handler)) }()
	io.Copy(io.Discard, os.Stdin)
}
