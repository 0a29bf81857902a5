// Whether an entitlement holds for this engine at a time: the same questions in the same order as nexus_oci/entitlement/judgement.py.
package main

import (
	"strings"
	"time"
)

// tolerance is by how many seconds clocks may differ, the vendor's from the customer's, or one from itself.
const tolerance = 300

// Site is where a token is used. Tier is the least that will do, Epoch when the engine was built, Mark the latest time seen.
type Site struct {
	Engine       string   `json:"engine"`
	Distribution string   `json:"distribution"`
	Tier         string   `json:"tier"`
	Epoch        int64    `json:"epoch"`
	Mark         int64    `json:"mark"`
	Revoked      []string `json:"revoked"`
}

func moment(seconds int64) string { return time.Unix(seconds, 0).UTC().Format("2006-01-02T15:04:05Z") }

// judgeClock holds the clock against the build and the latest time that was ever seen here.
func judgeClock(site Site, now int64) *Refusal {
	if now+tolerance < site.Epoch {
		return clockSetBack(now, "the engine was built from what is of "+moment(site.Epoch))
	}
	if now+tolerance < site.Mark {
		return clockSetBack(now, "it was "+moment(site.Mark)+" before")
	}
	return nil
}

func clockSetBack(now int64, other string) *Refusal {
	return &Refusal{"clock", "this machine's clock was set back", "it says " + moment(now) + ", and " + other, "set this machine's clock right (NTP)"}
}

// judge returns whether verified claims hold only by their grace, or why they do not hold.
func judge(claims *Claims, site Site, now int64) (grace bool, refusal *Refusal) {
	if refusal := judgeClock(site, now); refusal != nil {
		return false, refusal
	}
	if refusal := judgeScope(claims, site); refusal != nil {
		return false, refusal
	}
	switch {
	case now+tolerance < claims.Issued:
		return false, clockSetBack(now, "the entitlement was issued at "+moment(claims.Issued))
	case now+tolerance < claims.NotBefore:
		return false, &Refusal{"not-yet-valid", "the entitlement holds from " + moment(claims.NotBefore) + " on", "it is " + moment(now),
			"wait until then, or ask the vendor for one that begins earlier"}
	case now <= claims.NotAfter:
		return false, nil
	case now <= claims.NotAfter+claims.Grace:
		return true, nil
	}
	over := ""
	if claims.Grace > 0 {
		over = ", and its grace at " + moment(claims.NotAfter+claims.Grace)
	}
	return false, &Refusal{"expired", "the entitlement has expired", "it ended at " + moment(claims.NotAfter) + over + "; it is " + moment(now),
		"ask the vendor for a new one"}
}

func judgeScope(claims *Claims, site Site) *Refusal {
	for _, id := range site.Revoked {
		if id == claims.ID {
			return &Refusal{"revoked", "the entitlement " + claims.ID + " was revoked", "", "ask the vendor for a new one"}
		}
	}
	if claims.Engine != site.Engine {
		return &Refusal{"wrong-engine", "the entitlement is for the engine " + claims.Engine, "this is " + site.Engine,
			"use the entitlement for " + site.Engine}
	}
	covered := false
	for _, name := range claims.Distributions {
		covered = covered || name == site.Distribution
	}
	if !covered {
		return &Refusal{"wrong-distribution", "the entitlement does not cover the " + site.Distribution + " distribution",
			"it covers " + strings.Join(claims.Distributions, ", "),
			"use one of those, or ask the vendor for an entitlement that covers this one too"}
	}
	if rank(claims.Tier) < rank(site.Tier) {
		return &Refusal{"wrong-tier", "the entitlement is for the tier " + claims.Tier, "this engine was built for " + site.Tier,
			"use the engine of the tier " + claims.Tier + ", or ask the vendor for an entitlement for " + site.Tier}
	}
	return nil
}
