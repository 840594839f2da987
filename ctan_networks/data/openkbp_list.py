# STAND-IN written by the lead to test the integration: OVERWRITE THIS FILE with the real one.
from pathlib import Path
def openkbp_list(dataset_dir, split, require_labels=True, predictions=None):
    r=Path(dataset_dir); r=r/"provided-data" if (r/"provided-data").exists() else r
    s=split if split.endswith("-pats") else split+"-pats"
    out=[]
    for p in sorted((r/s).glob("pt_*"), key=lambda p:int(p.name[3:])):
        d={"case":p.name,"image":str(p/"ct.csv"),"segmentation":str(p),"dose":str(p/"dose.csv"),"mask":str(p/"possible_dose_mask.csv")}
        if predictions: d["predicted_dose"]=str(Path(predictions)/f"{p.name}.csv")
        out.append(d)
    return out
def inference_list(dataset_dir, split=None):
    return [{"case":d["case"],"image":d["image"]} for d in openkbp_list(dataset_dir, split or "validation")]
