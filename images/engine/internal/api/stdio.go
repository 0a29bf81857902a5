// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// The error codes of JSON-RPC 2.0, section 5.1, and the engine's own for a Fault.
const (
	rpcParseError     = -32700
	rpcInvalidRequest = -32600
	rpcMethodNotFound = -32601
	rpcInvalidParams  = -32602
	rpcFault          = -32000
)

type rpcRequest struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Method  string          `json:"method"`
	Params  json.RawMessage `json:"params"`
}

type rpcResponse struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Result  any             `json:"result,omitempty"`
	Error   *rpcError       `json:"error,omitempty"`
}

type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    any    `json:"data,omitempty"`
}

// Stdio serves JSON-RPC 2.0, one message a line, with the methods evaluate, policies, ready and version. Batches are
// refused. It is used once.
type Stdio struct {
	service *Service
	in      io.Reader
	out     io.Writer
	busy    sync.Mutex // held while a message is answered
}

// Serve answers messages until the input ends or ctx is done; it returns nil for both. A read that is under way when
// ctx ends is left behind: no read of standard input can be interrupted.
func (t *Stdio) Serve(ctx context.Context) error {
	reader := bufio.NewReaderSize(t.in, t.service.config.API.MaxBodyBytes)
	for {
		line, err := reader.ReadSlice('\n')
		tooLong := errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = reader.ReadSlice('\n')
		}
		t.busy.Lock()
		if ctx.Err() != nil {
			t.busy.Unlock()
			return nil
		}
		writeErr := t.respond(line, tooLong)
		t.busy.Unlock()
		switch {
		case writeErr != nil:
			return fmt.Errorf("cannot write to standard output: %w", writeErr)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("cannot read standard input: %w", err)
		}
	}
}

// Drain waits for the message under way. No other is answered after ctx of Serve ended.
func (t *Stdio) Drain() {
	t.busy.Lock()
	defer t.busy.Unlock()
}

func (t *Stdio) respond(line []byte, tooLong bool) error {
	if len(line) == 0 || string(line) == "\n" {
		return nil
	}
	response := rpcResponse{Version: "2.0", ID: json.RawMessage("null")}
	var request rpcRequest
	if tooLong {
		response.Error = &rpcError{rpcInvalidRequest, "the message is longer than api.max_body_bytes allows", nil}
	} else if !json.Valid(line) {
		response.Error = &rpcError{rpcParseError, "the line is not one JSON value", nil}
	} else if err := decodeStrict(line, &request); err != nil || request.Version != "2.0" || request.Method == "" {
		response.Error = &rpcError{rpcInvalidRequest, "expected an object with jsonrpc \"2.0\", method, params and id", nil}
	} else {
		response.Result, response.Error = t.call(request)
		if request.ID == nil {
			return nil // a notification is never answered
		}
		response.ID = request.ID
	}
	text, err := json.Marshal(response)
	if err != nil {
		return err
	}
	_, err = t.out.Write(append(text, '\n'))
	return err
}

func (t *Stdio) call(request rpcRequest) (any, *rpcError) {
	switch request.Method {
	case "policies":
		return t.service.Policies(), nil
	case "ready":
		return t.service.Readiness(), nil
	case "version":
		return t.service.Build, nil
	case "evaluate":
		var params Request
		if err := decodeStrict(request.Params, &params); err != nil {
			return nil, &rpcError{rpcInvalidParams, "params: " + err.Error(), nil}
		}
		decision, err := t.service.Evaluate(params)
		if err != nil {
			return nil, &rpcError{rpcFault, err.Error(), err}
		}
		return decision, nil
	}
	message := fmt.Sprintf("there is no method %q; there are evaluate, policies, ready and version", request.Method)
	return nil, &rpcError{rpcMethodNotFound, message, nil}
}
