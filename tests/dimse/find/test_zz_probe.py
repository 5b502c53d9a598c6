import struct, time, asyncio
from tests.dimse.finding import *
from tests.identifiers import *
from pydicom.dataset import Dataset

def ex(tag, vr, val):
    h=struct.pack("<HH",tag>>16,tag&0xffff)
    val += b" "*(len(val)%2)
    if vr in (b"UN",b"SQ",b"OB",b"UT",b"UC"): return h+vr+b"\0\0"+struct.pack("<I",len(val))+val
    return h+vr+struct.pack("<H",len(val))+val
L=ex(0x00080052,b"CS",b"STUDY ")
CASES={
 "UN name": L+ex(0x00100010,b"UN",b"Yamada*"),
 "LO name": L+ex(0x00100010,b"LO",b"Yamada*"),
 "PN as OB": L+ex(0x00100010,b"OB",b"Yamada*"),
 "PatientID IS 007": L+ex(0x00100020,b"IS",b"P1"),
 "date -": L+ex(0x00080020,b"DA",b"-"),
 "date spaces": L+ex(0x00080020,b"DA",b" 20240101 - 20240131 "),
 "date dots": L+ex(0x00080020,b"DA",b"2024.01.01-2024.01.31"),
 "date dashes": L+ex(0x00080020,b"DA",b"2024-01-01-2024-01-31"),
 "date LO vr": L+ex(0x00080020,b"LO",b"20240101-20240131"),
 "date today NUL": L+ex(0x00080020,b"DA",b"20240115\0\0"),
 "date open*": L+ex(0x00080020,b"DA",b"20240101-*"),
 "date rev": L+ex(0x00080020,b"DA",b"20240131-20240101"),
 "date list": L+ex(0x00080020,b"DA",b"20240115\\20240301"),
 "time 24": L+ex(0x00080030,b"TM",b"0000-2400"),
 "time colon": L+ex(0x00080030,b"TM",b"10:00-11:00"),
 "time 7frac": L+ex(0x00080030,b"TM",b"101530.5000000"),
 "time min": L+ex(0x00080030,b"TM",b"1015"),
 "uid list bad": L+ex(0x0020000D,b"UI",b"1.1\\abc\\1.2"),
 "uid trailing": L+ex(0x0020000D,b"UI",b"1.1\\1.2\\"),
 "uid space": L+ex(0x0020000D,b"UI",b"1.1 "),
 "uid star": L+ex(0x0020000D,b"UI",b"1.*"),
 "uid star only": L+ex(0x0020000D,b"UI",b"*"),
 "uid long": L+ex(0x0020000D,b"UI",b"1."*40),
 "name spaces": L+ex(0x00100010,b"PN",b"   "),
 "name yamada ^": L+ex(0x00100010,b"PN",b"YAMADA^TAROU^^ "),
 "name yamada": L+ex(0x00100010,b"PN",b"YAMADA"),
 "name *^*": L+ex(0x00100010,b"PN",b"Yam*^T*^*"),
 "name ?": L+ex(0x00100010,b"PN",b"Yamada^Taro?"),
 "mods": L+ex(0x00080061,b"CS",b"MR\\ SR "),
 "mods lower": L+ex(0x00080061,b"CS",b"mr"),
 "mods wild": L+ex(0x00080061,b"CS",b"M*"),
 "counts": L+ex(0x00201206,b"IS",b"2 "),
 "counts bad": L+ex(0x00201206,b"IS",b"x "),
 "counts wild": L+ex(0x00201206,b"IS",b"* "),
 "sex": L+ex(0x00100040,b"CS",b"M "),
 "desc comma": L+ex(0x00081030,b"LO",b"Thorax, Abdomen"),
 "acc star lit": L+ex(0x00080050,b"SH",b"A*"),
 "retr aet": L+ex(0x00080054,b"AE",b"*"),
 "retr aet val": L+ex(0x00080054,b"AE",b"ISTHMUS "),
 "avail": L+ex(0x00080056,b"CS",b"ONLINE"),
 "avail off": L+ex(0x00080056,b"CS",b"OFFLINE "),
 "level lower pad": ex(0x00080052,b"CS",b"study \0\0"),
 "level twice": ex(0x00080052,b"CS",b"STUDY\\STUDY"),
 "grp len": ex(0x00080000,b"UL",b"\1\0\0\0")+L+ex(0x00100000,b"UL",b"\0\0\0\0")+ex(0x00100020,b"LO",b"P2"),
 "meta": ex(0x00020010,b"UI",b"1.2.840.10008.1.2.1")+L+ex(0x00100020,b"LO",b"P2"),
 "cmd grp": ex(0x00000010,b"UL",b"\1\0\0\0")+L+ex(0x00100020,b"LO",b"P2"),
 "out of order": ex(0x00100020,b"LO",b"P2")+L,
 "pixel": L+ex(0x7fe00010,b"OB",b"1234"),
 "other ids": L+ex(0x00101000,b"LO",b"P2"),
 "zone val": L+ex(0x00080201,b"SH",b"+0100"),
 "char": L+ex(0x00100010,b"PN","Мария".encode()),
 "trailing zeros": L+ex(0x00100020,b"LO",b"P2")+bytes(8),
 "frag": L+ex(0x00100020,b"LO",b"P2")+b"\x10\0",
 "SQ undefined": ex(0x00080052,b"CS",b"SERIES")+struct.pack("<HH2sHI",0x40,0x275,b"SQ",0,0xffffffff)+struct.pack("<HHI",0xfffe,0xe000,0xffffffff)+ex(0x00400009,b"SH",b"SPS1")+struct.pack("<HHI",0xfffe,0xe00d,0)+struct.pack("<HHI",0xfffe,0xe0dd,0),
 "SQ UN": ex(0x00080052,b"CS",b"SERIES")+struct.pack("<HH2sHI",0x40,0x275,b"UN",0,0xffffffff)+struct.pack("<HHI",0xfffe,0xe000,0xffffffff)+struct.pack("<HHI",0x40,9,4)+b"SPS1"+struct.pack("<HHI",0xfffe,0xe00d,0)+struct.pack("<HHI",0xfffe,0xe0dd,0),
 "SQ damaged": ex(0x00080052,b"CS",b"SERIES")+ex(0x00400275,b"SQ",struct.pack("<HHI",0xfffe,0xe000,50)+ex(0x00400009,b"SH",b"SPS1")),
 "SQ junk": ex(0x00080052,b"CS",b"SERIES")+ex(0x00400275,b"SQ",b"SPS1SPS1"),
 "SQ as LO": ex(0x00080052,b"CS",b"SERIES")+ex(0x00400275,b"LO",b"SPS1"),
 "dup key": L+ex(0x00100020,b"LO",b"P2")+ex(0x00100020,b"LO",b"P1"),
 "dup key empty": L+ex(0x00100020,b"LO",b"")+ex(0x00100020,b"LO",b"P1"),
 "priv no creator": ex(0x00080052,b"CS",b"IMAGE ")+ex(0x00091001,b"LO",b"of acme"),
 "priv UN": ex(0x00080052,b"CS",b"IMAGE ")+ex(0x00090010,b"LO",b"OTHER")+ex(0x00091001,b"UN",b"of o*"),
}
for cs,b in (("ISO 2022 IR 6\\ISO 2022 IR 100","Müller*".encode("latin1")),("UTF8","Müller*".encode()),("ISO-IR 100","Müller*".encode("latin1")),("ISO_IR100","Müller*".encode("latin1")),("iso8859-1","Müller*".encode("latin1")),("ISO_IR_192","Müller*".encode()),("UTF-8","Müller*".encode()),("FOO","Müller*".encode("latin1")),("ISO_IR 192\\ISO 2022 IR 87","Müller*".encode()),("GBK","山田*".encode("gbk")),("ISO 2022 GBK","山田*".encode("gbk")),("\\ISO 2022 IR 58",b"\x1b$)A"+"山田*".encode("gb2312")),("\\ISO 2022 IR 58",b"*=\x1b$)A"+"山田*".encode("gb2312")),("ISO_IR 13",b"Yamada*"),("ISO 2022 IR 87",b"\x1b$B;3ED\x1b(B*"),("ISO 2022 IR 87",b"\x1b$B;3ED\x1b(B^*=*"),("ISO 2022 IR 13\\ISO 2022 IR 87",b"*=\x1b$B;3ED\x1b(J*"),("CP1252","Müller*".encode("latin1")),("windows-1252","Müller*".encode("latin1")),("ISO_IR 149",b"Yam*"),):
    CASES["cs "+cs+" "+str(b)]=ex(0x00080005,b"CS",cs.encode())+L+ex(0x00100010,b"PN",b)
def test_probe(ask):
    for n,c in CASES.items():
        try: a=ask.find_bytes(c)
        except Exception as e: print(f"{n:40s} !!! {e!r}"); continue
        print(f"{n:40s} {a.final.status:04X} {sorted(set(hex(p) for p in a.pending))} {[str(m.get('SOPInstanceUID') or m.get('SeriesInstanceUID') or m.get('StudyInstanceUID')) for m in a.matches]} {a.final.comment!r}")
