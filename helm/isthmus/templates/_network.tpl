{{- define "isthmus.releasePods" -}}
- podSelector:
    matchLabels:
      {{- include "isthmus.selector" . | nindent 6 }}
{{- end -}}

{{/* Who may reach HTTP, the service's or the bridge's. dict: root, port */}}
{{- define "isthmus.httpRule" -}}
{{- $values := .root.Values -}}
- from:
    {{- include "isthmus.releasePods" .root | nindent 4 }}
    {{- with $values.networkPolicy.httpFrom }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- if $values.ingress.enabled }}
    - namespaceSelector:
        matchLabels: {kubernetes.io/metadata.name: {{ $values.networkPolicy.ingressNamespace }}}
    {{- end }}
    {{- if $values.serviceMonitor.enabled }}
    - namespaceSelector:
        matchLabels: {kubernetes.io/metadata.name: {{ $values.serviceMonitor.namespace }}}
    {{- end }}
  ports:
    - {port: {{ .port }}, protocol: TCP}
{{- end -}}

{{- define "isthmus.dimseRule" -}}
- from:
    {{- include "isthmus.releasePods" . | nindent 4 }}
    {{- with .Values.networkPolicy.dimseFrom }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    {{- if ne (include "isthmus.dimseOverTlsOnly" .) "true" }}
    - {port: {{ .Values.bridge.port }}, protocol: TCP}
    {{- end }}
    {{- if .Values.bridge.tls.secret }}
    - {port: {{ .Values.bridge.tls.port }}, protocol: TCP}
    {{- end }}
{{- end -}}
