// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
)

var faultStatus = map[string]int{
	"bad-request": http.StatusBadRequest, "too-large": http.StatusRequestEntityTooLarge,
	"unknown-policy": http.StatusNotFound, "not-ready": http.StatusServiceUnavailable,
}

// Handler returns the HTTP interface: GET /healthz, /readyz, /version, /metrics, /v1/policies and /v1/policies/{name},
// POST /v1/evaluate. Bodies are JSON, metrics excepted; a refusal has the body {"error": {"code", "message"}}.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		now, status := s.Readiness(), http.StatusOK
		if now.Status != "ready" {
			status = http.StatusServiceUnavailable
		}
		answer(w, status, now)
	})
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, s.Build) })
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		s.WriteMetrics(w)
	})
	mux.HandleFunc("GET /v1/policies", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"policies": s.Policies()})
	})
	mux.HandleFunc("GET /v1/policies/{name}", func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("name")
		if p := s.set.Load().byName[name]; p != nil {
			answer(w, http.StatusOK, p.Policy)
			return
		}
		refuse(w, noPolicy(name))
	})
	mux.HandleFunc("POST /v1/evaluate", s.evaluateOverHTTP)
	return mux
}

func (s *Service) evaluateOverHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(s.config.API.MaxBodyBytes)))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		refuse(w, &Fault{"too-large", "the request is larger than api.max_body_bytes allows"})
		return
	}
	var request Request
	if err == nil {
		err = decodeStrict(body, &request)
	}
	if err != nil {
		refuse(w, &Fault{"bad-request", err.Error()})
		return
	}
	decision, err := s.Evaluate(request)
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, http.StatusOK, decision)
}

func refuse(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	var fault *Fault
	if errors.As(err, &fault) {
		status = faultStatus[fault.Code]
	} else {
		fault = &Fault{"internal", err.Error()}
	}
	answer(w, status, map[string]*Fault{"error": fault})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	// An error here means that the caller has gone; there is nobody left to tell.
	_ = json.NewEncoder(w).Encode(body)
}
