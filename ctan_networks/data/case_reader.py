# STAND-IN written by the lead to test the integration: OVERWRITE THIS FILE with the real one.
import numpy as np
from pathlib import Path
from monai.data import ImageReader, NibabelReader, PydicomReader
from ctan_networks.data.openkbp import *
class CaseReader(ImageReader):
    def __init__(self, structures=STRUCTURES): super().__init__(); self.structures=tuple(structures)
    def verify_suffix(self, f): return True
    def read(self, data, **kw):
        data=data[0] if isinstance(data,tuple) else data; p=Path(data); self.inner=None
        if p.suffix in (".gz",".nii"):
            self.inner=NibabelReader(); return self.inner.read(data)
        if p.is_dir() and not (p/"ct.csv").exists():
            self.inner=PydicomReader(); return self.inner.read(data)
        return p
    def get_data(self, p):
        if self.inner: return self.inner.get_data(p)
        folder=p if p.is_dir() else p.parent
        meta={}
        if p.is_dir():
            a=np.zeros(GRID,np.int16); meta["present"]=[]
            for k,n in enumerate(self.structures):
                f=p/f"{n}.csv"; meta["present"].append(f.exists())
                if f.exists(): a|= (read_sparse_csv(f,False).reshape(GRID).astype(np.int16)<<k)
        elif p.name=="ct.csv": a=read_sparse_csv(p,True).reshape(GRID).astype(np.float32)-1024
        elif p.name in("possible_dose_mask.csv",): a=read_sparse_csv(p,False).reshape(GRID)
        else: a=read_sparse_csv(p,True).reshape(GRID).astype(np.float32)
        A=affine(read_voxel_dimensions(folder/"voxel_dimensions.csv"))
        meta|={"affine":A,"original_affine":A,"spatial_shape":np.array(GRID),"space":"RAS","original_channel_dim":float("nan"),"filename_or_obj":str(p)}
        meta["original_channel_dim"]="no_channel"
        return a,meta
