{{/* What the schema cannot say of values that do not go together. */}}
{{- define "isthmus.checks" -}}
{{- if not (or .Values.service.enabled .Values.bridge.enabled) -}}
{{- fail "service.enabled and bridge.enabled are both false: there is nothing to deploy." -}}
{{- end -}}
{{- if regexMatch "://[^/@]*:[^/@]+@|[?&](ssl)?password=" .Values.index.url -}}
{{- fail "index.url has a password in it: put it into a secret and name that in index.passwordSecret." -}}
{{- end -}}
{{- if and .Values.service.enabled (eq .Values.auth.mode "none!") (not .Values.auth.proxy.enabled) (not .Values.networkPolicy.enabled) (not .Values.auth.openNetwork) -}}
{{- fail "networkPolicy.enabled is false and auth.mode is 'none!': whoever reaches the pods could read and store. Leave the network policy on, put auth.proxy in front, or set auth.openNetwork=true if something else keeps others out." -}}
{{- end -}}
{{- if and .Values.service.enabled (eq .Values.auth.mode "none") (not .Values.auth.proxy.enabled) -}}
{{- fail "auth.mode is 'none', with which the service listens on no more than its pod's loopback. Set auth.proxy.enabled=true, or auth.mode='none!'." -}}
{{- end -}}
{{- if and (contains "basic" .Values.auth.mode) (not .Values.auth.passwordsSecret.name) -}}
{{- fail "auth.mode has basic: auth.passwordsSecret must name a secret with lines NAME:HASH, as `isthmus password` writes them." -}}
{{- end -}}
{{- if and (contains "jwt" .Values.auth.mode) (or (not .Values.auth.oidc.issuer) (not .Values.auth.oidc.audience)) -}}
{{- fail "auth.mode has jwt: auth.oidc.issuer and auth.oidc.audience say whose tokens are taken, and that they are for this server." -}}
{{- end -}}
{{- if and (not (hasPrefix "none" .Values.auth.mode)) .Values.auth.proxy.enabled -}}
{{- fail "auth.proxy.enabled puts a proxy before a service that asks nobody to sign in: with it, auth.mode is none." -}}
{{- end -}}
{{- if and .Values.auth.proxy.enabled (not .Values.auth.proxy.image) -}}
{{- fail "auth.proxy.enabled needs auth.proxy.image." -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (not (include "isthmus.scaled" .)) -}}
{{- fail "autoscaling.enabled needs pods that share what they keep: storage.url=s3://… and index.url=postgresql://…." -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas." -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.service.enabled) -}}
{{- fail "ingress.enabled needs service.enabled: the bridge alone speaks no HTTP to others." -}}
{{- end -}}
{{- if .Values.bridge.enabled -}}
{{- include "isthmus.bridgeChecks" . -}}
{{- end -}}
{{- end -}}

{{- define "isthmus.bridgeChecks" -}}
{{- $entities := .Values.bridge.applicationEntities -}}
{{- if and (include "isthmus.embedded" .) (gt (len $entities) 1) -}}
{{- fail "several bridge.applicationEntities need pods that share what they keep: storage.url=s3://… and index.url=postgresql://…." -}}
{{- end -}}
{{- if and (include "isthmus.embedded" .) (or .Values.bridge.archive.url (not .Values.bridge.ownService)) -}}
{{- fail "the embedded pod's bridge uses the service beside it: leave bridge.archive.url empty and bridge.ownService true." -}}
{{- end -}}
{{- if and (not .Values.service.enabled) (not .Values.bridge.archive.url) -}}
{{- fail "service.enabled is false: bridge.archive.url must name the DICOMweb server behind the bridge." -}}
{{- end -}}
{{- if and (gt (len $entities) 1) .Values.bridge.volume.existingClaim -}}
{{- fail "bridge.volume.existingClaim can be of one application entity only: each keeps its own." -}}
{{- end -}}
{{- if and .Values.auth.proxy.enabled (include "isthmus.scaled" .) (not .Values.bridge.ownService) (not .Values.bridge.archive.tokenSecret.name) -}}
{{- fail "with auth.proxy and without a service of its own the bridge needs bridge.archive.tokenSecret." -}}
{{- end -}}
{{- if and .Values.bridge.http.exposed (eq .Values.auth.mode "none") -}}
{{- fail "bridge.http.exposed needs another auth.mode than 'none': no proxy of the chart is before the bridge's HTTP." -}}
{{- end -}}
{{- if and .Values.service.enabled (not (hasPrefix "none" .Values.auth.mode)) (or (include "isthmus.embedded" .) (not .Values.bridge.ownService)) (not .Values.bridge.archive.url) (not .Values.bridge.archive.tokenSecret.name) -}}
{{- fail "with auth.mode the bridge has to sign in to the service, too: put a line NAME:PASSWORD or a token into a secret, and name that in bridge.archive.tokenSecret." -}}
{{- end -}}
{{- if and .Values.bridge.http.exposed (eq .Values.auth.mode "none!") (not .Values.networkPolicy.enabled) (not .Values.auth.openNetwork) -}}
{{- fail "networkPolicy.enabled is false and bridge.http.exposed is true: whoever reaches the bridge could send and fetch studies. Leave the network policy on, or set auth.openNetwork=true if something else keeps others out." -}}
{{- end -}}
{{- if and .Values.service.tls.secret (include "isthmus.scaled" .) (not .Values.bridge.ownService) (not .Values.bridge.archive.url) (not .Values.bridge.archive.ca.configMap) -}}
{{- fail "with service.tls.secret and without a service of its own the bridge needs bridge.archive.ca.configMap, the authority of that certificate, which must be in the name of the release's Service." -}}
{{- end -}}
{{- if and .Values.bridge.tls.only (not .Values.bridge.tls.secret) -}}
{{- fail "bridge.tls.only needs bridge.tls.secret." -}}
{{- end -}}
{{- $ports := list (int .Values.service.port) (int .Values.bridge.port) (int .Values.bridge.tls.port) (int .Values.bridge.http.port) (int .Values.auth.proxy.port) -}}
{{- if ne (len $ports) (len (uniq $ports)) -}}
{{- fail "service.port, bridge.port, bridge.tls.port, bridge.http.port and auth.proxy.port must differ: they may share a pod." -}}
{{- end -}}
{{- $titles := dict -}}
{{- range $entities -}}
{{- range tuple .title (include "isthmus.inboxTitle" .) -}}
{{- if hasKey $titles (lower (trim .)) -}}
{{- fail (printf "bridge.applicationEntities: %q is the title or inboxTitle of two." .) -}}
{{- end -}}
{{- $_ := set $titles (lower (trim .)) true -}}
{{- end -}}
{{- end -}}
{{- $names := dict -}}
{{- range $entities -}}
{{- $slug := include "isthmus.slug" .title -}}
{{- if or (not $slug) (hasKey $names $slug) -}}
{{- fail (printf "bridge.applicationEntities: the title %q must differ from the others in more than case and punctuation, and have a letter or digit." .title) -}}
{{- end -}}
{{- $_ := set $names $slug true -}}
{{- end -}}
{{- end -}}
