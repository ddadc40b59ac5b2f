// Go's net/http, as it is, against livekv: `go run client.go URL` says one line for each check.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

var url = os.Args[1]

func check(name string, good bool) {
	verdict := "failed"
	if good {
		verdict = "ok"
	}
	fmt.Println(verdict, "Go:", name)
}

func ask(client *http.Client, request *http.Request, err error) (int, string, http.Header) {
	if err != nil {
		return 0, err.Error(), nil
	}
	answer, err := client.Do(request)
	if err != nil {
		return 0, err.Error(), nil
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, string(body), answer.Header
}

func put(client *http.Client, key string, body io.Reader, fields map[string]string) int {
	request, err := http.NewRequest("PUT", url+"/values/"+key, body)
	for name, value := range fields {
		request.Header.Set(name, value)
	}
	status, _, _ := ask(client, request, err)
	return status
}

func get(client *http.Client, path string, fields map[string]string) (int, string, http.Header) {
	request, err := http.NewRequest("GET", url+path, nil)
	for name, value := range fields {
		request.Header.Set(name, value)
	}
	return ask(client, request, err)
}

func main() {
	transport := &http.Transport{MaxIdleConnsPerHost: 8, ExpectContinueTimeout: 20 * time.Second}
	client := &http.Client{Transport: transport, Timeout: 60 * time.Second}
	check("a write", put(client, "go", strings.NewReader("one"), nil) == 200)
	check("a body in chunks", put(client, "go", io.MultiReader(strings.NewReader("t"), strings.NewReader("wo")), nil) == 200)
	began := time.Now()
	expects := put(client, "go", strings.NewReader("three"), map[string]string{"Expect": "100-continue"})
	check("a write that expects a 100", expects == 200 && time.Since(began) < 15*time.Second)
	refused := put(client, "go", strings.NewReader("x"), map[string]string{"Expect": "100-continue", "Content-Encoding": "gzip"})
	check("a coded body is refused before it is sent", refused == 415)
	status, body, header := get(client, "/values/go", nil)
	check("what was written", status == 200 && strings.Contains(body, `"three"`))
	status, _, _ = get(client, "/values/go", map[string]string{"If-None-Match": header.Get("ETag")})
	check("a conditional read", status == 304)
	var wait sync.WaitGroup
	good := make([]int, 8)
	for worker := range good {
		wait.Add(1)
		go func(worker int) {
			defer wait.Done()
			for n := 0; n < 100; n++ {
				if status, _, _ := get(client, "/values/go", nil); status == 200 {
					good[worker]++
				}
			}
		}(worker)
	}
	wait.Wait()
	sum := 0
	for _, n := range good {
		sum += n
	}
	check("800 reads on kept connections", sum == 800)
	request, _ := http.NewRequest("GET", url+"/events", nil)
	request.Header.Set("Accept", "text/event-stream")
	answer, err := client.Do(request)
	if err != nil {
		check("a stream of events", false)
		return
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	heard := false
	for lines.Scan() {
		if strings.Contains(lines.Text(), `"hello"`) {
			put(client, "news", strings.NewReader("news"), nil)
		}
		if strings.Contains(lines.Text(), `"value":"news"`) {
			heard = true
			break
		}
	}
	check("a stream of events", heard)
}
