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
ISTHMUS_AUTH: {{ ternary $values.auth.mode "none" (eq .exposed "true") | toJson }}
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
AWS_REGION: {{ toJson $values.storage.s3.region }}
AWS_CA_BUNDLE: {{ ternary (printf "/etc/isthmus/s3/%s" $values.storage.s3.ca.key) "" (ne $values.storage.s3.ca.configMap "") | toJson }}
PGSSLROOTCERT: {{ ternary (printf "/etc/isthmus/database/%s" $values.index.ca.key) "" (ne $values.index.ca.configMap "") | toJson }}
{{- end -}}

{{/* The bridge's. dict: root, entity */}}
{{- define "isthmus.bridgeSettings" -}}
{{- $values := .root.Values -}}
ISTHMUS_AE_TITLE: {{ toJson .entity.title }}
ISTHMUS_INBOX_AE_TITLE: {{ include "isthmus.inboxTitle" .entity | toJson }}
ISTHMUS_DIMSE_HOST: {{ toJson $values.bridge.host }}
ISTHMUS_DIMSE_PORT: {{ toJson $values.bridge.port }}
ISTHMUS_ARCHIVE_URL: {{ include "isthmus.archiveUrl" .root | toJson }}
ISTHMUS_ARCHIVE_TOKEN_FILE: {{ ternary (printf "/etc/isthmus/archive-token/%s" $values.bridge.archive.tokenSecret.key) "" (ne $values.bridge.archive.tokenSecret.name "") | toJson }}
ISTHMUS_ARCHIVE_CA: {{ ternary (printf "/etc/isthmus/archive/%s" $values.bridge.archive.ca.key) "" (ne $values.bridge.archive.ca.configMap "") | toJson }}
ISTHMUS_BRIDGE_HOST: {{ ternary $values.bridge.host "127.0.0.1" $values.bridge.http.exposed | toJson }}
ISTHMUS_BRIDGE_PORT: {{ toJson $values.bridge.http.port }}
ISTHMUS_AUTH: {{ ternary $values.auth.mode "none" $values.bridge.http.exposed | toJson }}
ISTHMUS_CORS: {{ toJson $values.service.cors }}
ISTHMUS_BRIDGE_STATE: /data/bridge
ISTHMUS_PEER_CACHE: {{ toJson $values.bridge.pacs.cache }}
ISTHMUS_PEER_CACHE_DAYS: {{ toJson $values.bridge.pacs.cacheDays }}
ISTHMUS_PEER_FRESH_S: {{ toJson $values.bridge.pacs.freshSeconds }}
ISTHMUS_PEER_MAX_ANSWERS: {{ toJson $values.bridge.pacs.maxAnswers }}
ISTHMUS_PEER_WAIT_S: {{ toJson $values.bridge.pacs.waitSeconds }}
ISTHMUS_PEERS: /etc/isthmus/peers/peers.toml
ISTHMUS_ACCEPT_SYNTAXES: {{ toJson $values.bridge.acceptSyntaxes }}
ISTHMUS_MAX_ASSOCIATIONS: {{ toJson $values.bridge.maxAssociations }}
ISTHMUS_MAX_ASSOCIATIONS_PER_PEER: {{ toJson $values.bridge.maxAssociationsPerPeer }}
ISTHMUS_DRAIN_S: {{ toJson $values.bridge.drainSeconds }}
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
{{- printf "http://127.0.0.1:%d%s" (int .Values.service.port) .Values.service.prefix -}}
{{- else -}}
{{- printf "http://%s:%d%s" (include "isthmus.fullname" .) (int .Values.service.port) .Values.service.prefix -}}
{{- end -}}
{{- end -}}
