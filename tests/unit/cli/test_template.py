"""Go templates as people write them after --format."""

from __future__ import annotations

import pytest

from inception.cli.template import Template, TemplateError
from inception.cli.template_values import to_json

VALUE = {
    "Id": "4f66ad9a",
    "Name": "/web",
    "State": {"Status": "running", "Pid": 7, "Paused": False, "Health": None},
    "Args": ["-c", "echo <hi>"],
    "Config": {"Labels": {"com.example.tier": "front", "x": "1"}, "Env": []},
    "NetworkSettings": {"Networks": {"b": {"IPAddress": "10.0.0.2"}, "a": {"IPAddress": "10.0.0.1"}}, "Ports": {}},
}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{{.Id}}", "4f66ad9a"),
        ("{{ .State.Status }} {{.State.Pid}} {{.State.Paused}}", "running 7 false"),
        ("{{.State.Health}}", "<no value>"),
        ("{{.Config.Labels.nosuch}}{{with .Config.Labels.nosuch}}set{{end}}", "<no value>"),
        ("{{.Args}} {{.Config.Labels}}", "[-c echo <hi>] map[com.example.tier:front x:1]"),
        ("{{json .Args}}", '["-c","echo <hi>"]'),
        ("{{json .State.Health}}", "null"),
        ('{{index .Config.Labels "com.example.tier"}}', "front"),
        ('{{index .Config.Labels "none"}}|', "|"),
        ("{{index .Args 1}}", "echo <hi>"),
        ('{{(index .NetworkSettings.Networks "a").IPAddress}}', "10.0.0.1"),
        ("{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", "10.0.0.1 10.0.0.2 "),
        ("{{range $k, $v := .NetworkSettings.Networks}}{{$k}}={{$v.IPAddress}};{{end}}", "a=10.0.0.1;b=10.0.0.2;"),
        ("{{range $i, $a := .Args}}{{$i}}{{$a}}{{end}}", "0-c1echo <hi>"),
        ("{{range .Config.Env}}x{{else}}none{{end}}", "none"),
        ('{{range .Args}}{{if eq . "-c"}}{{continue}}{{end}}{{.}}{{break}}{{end}}', "echo <hi>"),
        ('{{if .State.Paused}}p{{else if eq .State.Status "running"}}r{{else}}x{{end}}', "r"),
        ("{{with .State}}{{.Pid}}{{end}}{{with .State.Health}}x{{else}}-{{end}}", "7-"),
        ("{{$x := .State.Pid}}{{$x}}{{if true}}{{$x = 8}}{{end}}{{$x}}", "78"),
        ('{{.Name | upper | printf "%-6s|"}}', "/WEB  |"),
        ('{{printf "%d %q %v %5.1f %t%%" .State.Pid .Name .Args 1.25 true}}', '7 "/web" [-c echo <hi>]   1.2 true%'),
        ('{{join .Args ","}} {{split "a,b" ","}} {{title "ab cd"}} {{truncate .Id 3}}', "-c,echo <hi> [a b] Ab Cd 4f6"),
        ("{{len .Args}} {{len .Name}} {{len .Config.Labels}}", "2 4 2"),
        ("{{and .State.Status 0}} {{or 0 .Name}} {{not .State.Paused}}", "0 /web true"),
        ('{{lt 1 2}} {{ge 2 2}} {{ne .Name "x"}} {{eq 1 2 1}}', "true true true true"),
        ("a {{- .Id -}}  b", "a4f66ad9ab"),
        ("{{/* nothing */}}x{{- /* trims */ -}} y", "xy"),
        ("{{println .Id 1}}", "4f66ad9a 1\n"),
        ('{{"}}"}}{{`raw\\n`}}', "}}raw\\n"),
        ("{{slice .Id 0 4}} {{print 1 2 .Id 3}}", "4f66 1 24f66ad9a3"),
        ("{{$.Id}}{{range .Args}}{{$.State.Pid}}{{end}}", "4f66ad9a77"),
        ("plain", "plain"),
    ],
)
def test_templates_render_as_go_does(text, shown):
    assert Template(text).render(VALUE) == shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{.Foo}}", 'template: :1:2: executing "" at <.Foo>: map has no entry for key "Foo"'),
        ("x\n {{.State.Foo}}", 'template: :2:3: executing "" at <.State.Foo>: map has no entry for key "Foo"'),
        ("{{.Id.Foo}}", 'template: :1:2: executing "" at <.Id.Foo>: can\'t evaluate field Foo in type string'),
        ("{{.State.Health.Log}}", "nil pointer evaluating interface {}.Log"),
        ("{{foo}}", 'template parsing error: template: :1: function "foo" not defined'),
        ("{{.Id", "template parsing error: template: :1: unclosed action"),
        ("{{}}", "template parsing error: template: :1: missing value for command"),
        ("{{if .Id}}x", "template parsing error: template: :1: unexpected EOF"),
        ("{{end}}", "template parsing error: template: :1: unexpected {{end}}"),
        ("{{(.Id}}", "unclosed left paren"),
        ("{{.Id)}}", "unexpected right paren"),
        ("{{$x}}", 'undefined variable "$x"'),
        ("{{index .Args 9}}", "error calling index: index out of range: 9"),
        ("{{eq .Name 1}}", "error calling eq: incompatible types for comparison"),
        ('{{.Name "x"}}', "Name is not a method but has arguments"),
        ('{{define "x"}}{{end}}', "{{define}} is not supported in --format"),
        ("{{.Id | | upper}}", "missing value for command"),
        ("{{#}}", 'unexpected "#" in command'),
        ("{{len 7}}", "error calling len: len of type int"),
        ("{{upper 7}}", "error calling upper"),
    ],
)
def test_bad_templates_say_where_and_why(text, message):
    with pytest.raises(TemplateError) as caught:
        Template(text).render(VALUE)
    assert message in str(caught.value)


def test_methods_of_a_row_take_arguments_and_are_left_out_of_json():
    row = {"ID": "7", "Label": {"a": "b"}.get}
    assert Template('{{.Label "a"}}').render(row) == "b"
    assert to_json(row) == '{"ID":"7"}'


def test_json_of_listings_escapes_html_as_go_does():
    assert to_json({"a": "<&>"}, escape_html=True) == '{"a":"\\u003c\\u0026\\u003e"}'


def test_deep_templates_do_not_crash():
    depth = 5000
    with pytest.raises(TemplateError, match="exceeded maximum nesting"):
        Template("{{" + "(" * depth + ".Id" + ")" * depth + "}}").render(VALUE)


@pytest.mark.parametrize("text", ["{{break}}", "{{range .Nothing}}{{else}}{{continue}}{{end}}"])
def test_leaving_a_range_that_there_is_not_is_an_error(text: str) -> None:
    with pytest.raises(TemplateError, match="outside"):
        Template(text).render({"Nothing": []})


def test_what_is_null_in_a_document_is_an_empty_list_or_map_to_a_template_and_null_in_json():
    from inception.cli.template_values import typed

    document = typed({"HostConfig": {"Binds": None, "Sysctls": None, "Other": None}})
    text = "{{.HostConfig.Binds}} {{.HostConfig.Sysctls}} {{json .HostConfig.Binds}} {{len .HostConfig.Binds}}"
    text += " {{.HostConfig.Other}}"
    assert Template(text).render(document) == "[] map[] null 0 <no value>"
    assert Template("{{range .HostConfig.Binds}}x{{else}}none{{end}}").render(document) == "none"


def test_urlquery():
    assert Template('{{urlquery "a b/c"}}').render({}) == "a+b%2Fc"
