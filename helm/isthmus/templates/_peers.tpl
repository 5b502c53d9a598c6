{{/* A value in TOML: texts and lists of them are written as in JSON, whole numbers without a fraction, maps as
inline tables. */}}
{{- define "isthmus.toml" -}}
{{- if kindIs "float64" . -}}
{{- if eq (floor .) . -}}{{- printf "%.0f" . -}}{{- else -}}{{- toJson . -}}{{- end -}}
{{- else if kindIs "map" . -}}
{{- $pairs := list -}}
{{- range $key, $value := . -}}
{{- $pairs = append $pairs (printf "%s = %s" (toJson $key) (include "isthmus.toml" $value)) -}}
{{- end -}}
{ {{- join ", " $pairs -}} }
{{- else -}}
{{- toJson . -}}
{{- end -}}
{{- end -}}

{{/* The file of ISTHMUS_PEERS. */}}
{{- define "isthmus.peers" -}}
{{- range $name, $peer := .Values.peers }}
[peers.{{ toJson $name }}]
{{- range $key, $value := $peer }}
{{ $key }} = {{ include "isthmus.toml" $value }}
{{- end }}
{{ end }}
{{- range $name, $server := .Values.servers }}
[servers.{{ toJson $name }}]
{{- range $key, $value := $server }}
{{ $key }} = {{ include "isthmus.toml" $value }}
{{- end }}
{{ end }}
{{- range .Values.rules }}
[[rules]]
{{- range $key, $value := . }}
{{ $key }} = {{ include "isthmus.toml" $value }}
{{- end }}
{{ end }}
{{- with .Values.unknownPeers }}
[unknown]
{{- range $key, $value := . }}
{{ $key }} = {{ include "isthmus.toml" $value }}
{{- end }}
{{ end }}
{{- end -}}
