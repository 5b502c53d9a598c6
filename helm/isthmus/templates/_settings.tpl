{{/*
One line for each setting of docs/settings.md. What is empty is left out, lists are joined by commas.
To add one: its line here, its value in values.yaml, its type in values.schema.json.
*/}}

{{/* The service's. dict: root, exposed ("true" where it listens beyond the pod) */}}
{{- define "isthmus.serviceSettings" -}}
{{- $values := .root.Values -}}
ISTHMUS_STORE: {{ toJson $values.storage.url }}
ISTHMUS_S3_ENDPOINT: {{ toJson $values.storage.s3.endpoint }}
ISTHMUS_S3_CLIENT: {{ toJson $values.storage.s3.client }}
{{- if not $values.index.urlSecret.name }}
ISTHMUS_INDEX: {{ toJson $values.index.url }}
{{- end }}
ISTHMUS_INDEX_CONNECTIONS: {{ toJson $values.index.connections }}
ISTHMUS_HOST: {{ ternary $values.service.host "127.0.0.1" (eq .exposed "true") | toJson }}
ISTHMUS_PORT: {{ toJson $values.service.port }}
{{ include "isthmus.tlsSettings" .root }}
{{ include "isthmus.accessSettings" . }}
ISTHMUS_PREFIX: {{ toJson $values.service.prefix }}
ISTHMUS_PUBLIC_URL: {{ include "isthmus.publicUrl" .root | toJson }}
ISTHMUS_TRUSTED_PROXIES: {{ include "isthmus.trustedProxies" .root | toJson }}
ISTHMUS_CORS: {{ toJson $values.service.cors }}
ISTHMUS_WORKERS: {{ toJson $values.service.workers }}
ISTHMUS_ON_DUPLICATE: {{ toJson $values.service.onDuplicate }}
ISTHMUS_HEADER_LIMIT: {{ toJson $values.service.limits.header }}
ISTHMUS_MAX_INSTANCE: {{ toJson $values.service.limits.instance }}
ISTHMUS_MAX_BODY: {{ toJson $values.service.limits.body }}
ISTHMUS_MAX_RESPONSE: {{ toJson $values.service.limits.response }}
ISTHMUS_MAX_REQUESTS: {{ toJson $values.service.limits.requests }}
ISTHMUS_MAX_RESULTS: {{ toJson $values.service.limits.results }}
ISTHMUS_STATEMENT_S: {{ toJson $values.service.limits.statementSeconds }}
ISTHMUS_PIXEL_QUEUE: {{ toJson $values.service.pixels.queue }}
ISTHMUS_PIXEL_CACHE: {{ toJson $values.service.pixels.cache }}
ISTHMUS_DECODED_SYNTAXES: {{ toJson $values.service.pixels.decodedSyntaxes }}
ISTHMUS_OHIF: {{ toJson $values.service.ohif.folder }}
ISTHMUS_OHIF_URL: {{ toJson $values.service.ohif.url }}
ISTHMUS_BRIDGE_URL: {{ ternary $values.bridge.http.publicUrl "" $values.bridge.enabled | toJson }}
ISTHMUS_DRAIN_S: {{ toJson $values.service.drainSeconds }}
{{ include "isthmus.sightSettings" .root }}
AWS_REGION: {{ toJson $values.storage.s3.region }}
AWS_CA_BUNDLE: {{ ternary (printf "/etc/isthmus/s3/%s" $values.storage.s3.ca.key) "" (ne $values.storage.s3.ca.configMap "") | toJson }}
PGSSLROOTCERT: {{ ternary (printf "/etc/isthmus/database/%s" $values.index.ca.key) "" (ne $values.index.ca.configMap "") | toJson }}
{{- end -}}

{{/* The bridge's. dict: root, entity */}}
{{- define "isthmus.bridgeSettings" -}}
{{- $values := .root.Values -}}
ISTHMUS_AE_TITLE: {{ toJson .entity.title }}
ISTHMUS_INBOX_AE_TITLE: {{ include "isthmus.inboxTitle" .entity | toJson }}
ISTHMUS_DIMSE_HOST: {{ ternary "127.0.0.1" $values.bridge.host (eq (include "isthmus.dimseOverTlsOnly" .root) "true") | toJson }}
ISTHMUS_DIMSE_PORT: {{ toJson $values.bridge.port }}
{{- if $values.bridge.tls.secret }}
ISTHMUS_DIMSE_TLS_HOST: {{ toJson $values.bridge.host }}
ISTHMUS_DIMSE_TLS_PORT: {{ toJson $values.bridge.tls.port }}
ISTHMUS_DIMSE_TLS_CERT: /etc/isthmus/dimse-tls/tls.crt
ISTHMUS_DIMSE_TLS_KEY: /etc/isthmus/dimse-tls/tls.key
ISTHMUS_DIMSE_TLS_PROFILE: {{ toJson $values.bridge.tls.profile }}
{{- end }}
ISTHMUS_DIMSE_TLS_CLIENT_CA: {{ ternary (printf "/etc/isthmus/dimse-ca/%s" $values.bridge.tls.ca.key) "" (ne $values.bridge.tls.ca.configMap "") | toJson }}
{{ include "isthmus.tlsSettings" .root }}
ISTHMUS_ARCHIVE_URL: {{ include "isthmus.archiveUrl" .root | toJson }}
{{- if include "isthmus.embedded" .root }}
ISTHMUS_BRIDGE_STORES_BY: itself
ISTHMUS_STORE: {{ toJson $values.storage.url }}
ISTHMUS_INDEX: {{ toJson $values.index.url }}
ISTHMUS_ON_DUPLICATE: {{ toJson $values.service.onDuplicate }}
ISTHMUS_HEADER_LIMIT: {{ toJson $values.service.limits.header }}
ISTHMUS_MAX_INSTANCE: {{ toJson $values.service.limits.instance }}
{{- end }}
ISTHMUS_ARCHIVE_TOKEN_FILE: {{ ternary (printf "/etc/isthmus/archive-token/%s" $values.bridge.archive.tokenSecret.key) "" (ne $values.bridge.archive.tokenSecret.name "") | toJson }}
ISTHMUS_ARCHIVE_CA: {{ ternary (printf "/etc/isthmus/archive/%s" $values.bridge.archive.ca.key) "" (ne $values.bridge.archive.ca.configMap "") | toJson }}
ISTHMUS_BRIDGE_HOST: {{ ternary $values.bridge.host "127.0.0.1" $values.bridge.http.exposed | toJson }}
ISTHMUS_BRIDGE_PORT: {{ toJson $values.bridge.http.port }}
{{ include "isthmus.accessSettings" (dict "root" .root "exposed" (ternary "true" "false" $values.bridge.http.exposed)) }}
ISTHMUS_CORS: {{ toJson $values.service.cors }}
ISTHMUS_BRIDGE_STATE: /data/bridge
ISTHMUS_SPOOL: {{ toJson $values.bridge.spool }}
ISTHMUS_FORWARD_MAX: {{ toJson $values.bridge.forwarding.most }}
ISTHMUS_FORWARD_DAYS: {{ toJson $values.bridge.forwarding.days }}
ISTHMUS_HOOKS: {{ toJson $values.bridge.forwarding.hooks }}
ISTHMUS_HOOK_TIMEOUT_S: {{ toJson $values.bridge.forwarding.hookTimeoutSeconds }}
ISTHMUS_PEER_CACHE: {{ toJson $values.bridge.pacs.cache }}
ISTHMUS_PEER_CACHE_DAYS: {{ toJson $values.bridge.pacs.cacheDays }}
ISTHMUS_PEER_FRESH_S: {{ toJson $values.bridge.pacs.freshSeconds }}
ISTHMUS_PEER_MAX_ANSWERS: {{ toJson $values.bridge.pacs.maxAnswers }}
ISTHMUS_PEER_WAIT_S: {{ toJson $values.bridge.pacs.waitSeconds }}
ISTHMUS_WORKLIST: {{ toJson $values.bridge.worklist.sources }}
ISTHMUS_WORKLIST_DONE: {{ toJson $values.bridge.worklist.done }}
ISTHMUS_MPPS_DAYS: {{ toJson $values.bridge.mppsDays }}
ISTHMUS_PEERS: /etc/isthmus/peers/peers.toml
ISTHMUS_ACCEPT_SYNTAXES: {{ toJson $values.bridge.acceptSyntaxes }}
ISTHMUS_MAX_ASSOCIATIONS: {{ toJson $values.bridge.maxAssociations }}
ISTHMUS_MAX_ASSOCIATIONS_PER_PEER: {{ toJson $values.bridge.maxAssociationsPerPeer }}
ISTHMUS_DRAIN_S: {{ toJson $values.bridge.drainSeconds }}
{{ include "isthmus.sightSettings" .root }}
{{- end -}}

{{/* HTTPS, of either program. */}}
{{- define "isthmus.tlsSettings" -}}
ISTHMUS_TLS_CERT: {{ ternary "/etc/isthmus/tls/tls.crt" "" (ne .Values.service.tls.secret "") | toJson }}
ISTHMUS_TLS_KEY: {{ ternary "/etc/isthmus/tls/tls.key" "" (ne .Values.service.tls.secret "") | toJson }}
{{- end -}}

{{/* "true" where associations come over TLS alone. */}}
{{- define "isthmus.dimseOverTlsOnly" -}}
{{- and (ne .Values.bridge.tls.secret "") .Values.bridge.tls.only -}}
{{- end -}}

{{/* The scheme of HTTP. */}}
{{- define "isthmus.scheme" -}}
{{- ternary "https" "http" (ne .Values.service.tls.secret "") -}}
{{- end -}}

{{/* How people sign in, of either program. dict: root, exposed ("true" where it listens beyond the pod) */}}
{{- define "isthmus.accessSettings" -}}
{{- $auth := .root.Values.auth -}}
ISTHMUS_AUTH: {{ ternary $auth.mode "none" (eq .exposed "true") | toJson }}
{{- if eq (include "isthmus.signIn" .) "true" }}
ISTHMUS_PASSWORDS_FILE: {{ ternary (printf "/etc/isthmus/passwords/%s" $auth.passwordsSecret.key) "" (ne $auth.passwordsSecret.name "") | toJson }}
ISTHMUS_SHARE_KEY_FILE: {{ ternary (printf "/etc/isthmus/share-key/%s" $auth.shareKeySecret.key) "" (ne $auth.shareKeySecret.name "") | toJson }}
ISTHMUS_OIDC_ISSUER: {{ toJson $auth.oidc.issuer }}
ISTHMUS_OIDC_AUDIENCE: {{ toJson $auth.oidc.audience }}
ISTHMUS_OIDC_CLIENT_ID: {{ toJson $auth.oidc.clientId }}
ISTHMUS_OIDC_SCOPE: {{ toJson $auth.oidc.scope }}
ISTHMUS_OIDC_SCOPE_PREFIX: {{ toJson $auth.oidc.scopePrefix }}
ISTHMUS_OIDC_STUDIES_CLAIM: {{ toJson $auth.oidc.studiesClaim }}
ISTHMUS_OIDC_PATIENTS_CLAIM: {{ toJson $auth.oidc.patientsClaim }}
ISTHMUS_OIDC_CA: {{ ternary (printf "/etc/isthmus/oidc/%s" $auth.oidc.ca.key) "" (ne $auth.oidc.ca.configMap "") | toJson }}
{{- end }}
{{- end -}}

{{/* "true" where people sign in at a program. dict: root, exposed */}}
{{- define "isthmus.signIn" -}}
{{- and (eq .exposed "true") (not (hasPrefix "none" .root.Values.auth.mode)) -}}
{{- end -}}

{{/* Both programs': what they tell of what is done. */}}
{{- define "isthmus.sightSettings" -}}
ISTHMUS_AUDIT: {{ toJson .Values.audit.sink }}
ISTHMUS_AUDIT_PATIENTS: {{ toJson .Values.audit.patients }}
ISTHMUS_AUDIT_JOIN_S: {{ toJson .Values.audit.joinSeconds }}
OTEL_EXPORTER_OTLP_ENDPOINT: {{ toJson .Values.traces.endpoint }}
{{- end -}}

{{/* Settings as environment variables of a container. */}}
{{- define "isthmus.env" -}}
{{- range $name, $value := . -}}
{{- $text := "" -}}
{{- if kindIs "slice" $value -}}
{{- $text = join "," $value -}}
{{- else if kindIs "float64" $value -}}
{{- $text = printf "%.0f" $value -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- $text = toString $value -}}
{{- end -}}
{{- if $text }}
- name: {{ $name }}
  value: {{ $text | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What comes from secrets, for the service. */}}
{{- define "isthmus.serviceSecrets" -}}
{{- $values := .Values -}}
{{- with $values.index.urlSecret }}
{{- if .name }}
- name: ISTHMUS_INDEX
  valueFrom:
    secretKeyRef: {name: {{ .name | quote }}, key: {{ .key | quote }}}
{{- end }}
{{- end }}
{{- with $values.index.passwordSecret }}
{{- if .name }}
- name: PGPASSWORD
  valueFrom:
    secretKeyRef: {name: {{ .name | quote }}, key: {{ .key | quote }}}
{{- end }}
{{- end }}
{{- if $values.storage.s3.credentialsSecret }}
{{- range tuple "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef: {name: {{ $values.storage.s3.credentialsSecret | quote }}, key: {{ . }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* The DICOMweb root as clients see it: all pods must write the same one into their answers. */}}
{{- define "isthmus.publicUrl" -}}
{{- if .Values.service.publicUrl -}}
{{- .Values.service.publicUrl -}}
{{- else if and .Values.ingress.enabled .Values.ingress.hosts -}}
{{- printf "%s://%s%s" (ternary "https" "http" (ne .Values.ingress.tlsSecret "")) (first .Values.ingress.hosts) .Values.service.prefix -}}
{{- end -}}
{{- end -}}

{{/* Who may say by which URL a client came: those that are named, and the proxy in the same pod. */}}
{{- define "isthmus.trustedProxies" -}}
{{- $trusted := .Values.service.trustedProxies -}}
{{- if .Values.auth.proxy.enabled -}}{{- $trusted = append $trusted "127.0.0.1" -}}{{- end -}}
{{- join "," $trusted -}}
{{- end -}}

{{/* The DICOMweb root that the bridge uses. */}}
{{- define "isthmus.archiveUrl" -}}
{{- if .Values.bridge.archive.url -}}
{{- .Values.bridge.archive.url -}}
{{- else if or (include "isthmus.embedded" .) (include "isthmus.ownService" .) -}}
{{- printf "%s://127.0.0.1:%d%s" (include "isthmus.scheme" .) (int .Values.service.port) .Values.service.prefix -}}
{{- else -}}
{{- printf "%s://%s:%d%s" (include "isthmus.scheme" .) (include "isthmus.fullname" .) (int .Values.service.port) .Values.service.prefix -}}
{{- end -}}
{{- end -}}
