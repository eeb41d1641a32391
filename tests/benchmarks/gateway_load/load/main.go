// Command load asks an OpenAI-compatible server for chats, so many at once, each caller its next
// question as soon as the last is answered, and prints what it saw as JSON.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"sync"
	"time"
)

// seen is what one caller saw: how long each answer took, in microseconds, and what went wrong.
type seen struct {
	Microseconds []int64 `json:"microseconds"`
	Errors       int     `json:"errors"`
	FirstError   string  `json:"first_error"`
}

type caller struct {
	url, key string
	body     []byte
	wanted   []byte
	client   *http.Client
}

// ask asks once and reads the whole answer.
func (c *caller) ask() error {
	request, err := http.NewRequest("POST", c.url, bytes.NewReader(c.body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if c.key != "" {
		request.Header.Set("Authorization", "Bearer "+c.key)
	}
	response, err := c.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK || !bytes.Contains(answer, c.wanted) {
		return fmt.Errorf("status %d: %.300s", response.StatusCode, answer)
	}
	return nil
}

func (c *caller) askFor(duration time.Duration) seen {
	var saw seen
	for end := time.Now().Add(duration); time.Now().Before(end); {
		began := time.Now()
		if err := c.ask(); err != nil {
			if saw.Errors++; saw.FirstError == "" {
				saw.FirstError = err.Error()
			}
			continue
		}
		saw.Microseconds = append(saw.Microseconds, time.Since(began).Microseconds())
	}
	return saw
}

func main() {
	url := flag.String("url", "", "where chats are asked for")
	key := flag.String("key", "", "bearer token")
	model := flag.String("model", "instant", "model to ask")
	callers := flag.Int("callers", 1, "callers at once")
	seconds := flag.Float64("seconds", 1, "how long to ask")
	stream := flag.Bool("stream", false, "whether answers are streamed")
	flag.Parse()
	body, err := json.Marshal(map[string]any{
		"model": *model, "stream": *stream, "temperature": 1,
		"messages": []map[string]string{{"role": "user", "content": "What is the capital of France, and since when?"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	wanted := []byte("word ")
	transport := &http.Transport{MaxIdleConnsPerHost: *callers}
	duration := time.Duration(*seconds * float64(time.Second))
	all := make([]seen, *callers)
	var running sync.WaitGroup
	began := time.Now()
	for place := range all {
		running.Go(func() {
			one := caller{*url, *key, body, wanted, &http.Client{Transport: transport, Timeout: time.Minute}}
			all[place] = one.askFor(duration)
		})
	}
	running.Wait()
	result := struct {
		seen
		Seconds float64 `json:"seconds"`
	}{Seconds: time.Since(began).Seconds()}
	for _, one := range all {
		result.Microseconds = append(result.Microseconds, one.Microseconds...)
		result.Errors += one.Errors
		if result.FirstError == "" {
			result.FirstError = one.FirstError
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		log.Fatal(err)
	}
}
